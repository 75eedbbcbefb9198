"""Semantically-anchored pruning: from images to paper tables. Read the includes from top to bottom."""

from snakemake.utils import min_version

min_version("9.20")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


# Used with --sdm apptainer only; envs/sap.def builds it.
container: "envs/sap.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/backbone.smk"
include: "workflow/rules/clients.smk"
include: "workflow/rules/saliency.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/evidence.smk"
include: "workflow/rules/report.smk"


rule all:
    """The tables and figures of the config's experiment, and whether every row of them could be computed."""
    default_target: True
    input:
        rules.complete.output,  # made of all the others


rule clients:
    """Every adapter of the experiment, and nothing after."""
    input:
        [f"{trainee.folder(seed)}/meta.json" for trainee in STUDY.trainees for seed in STUDY.seeds_of(trainee)],


rule gradients:
    """Every client's anchor gradients, and nothing after."""
    input:
        gradient_files(STUDY.clients, STUDY.seeds),


rule merged:
    """The merged updates of the main table as files, with a model card each."""
    input:
        [
            f"{STUDY.merge_folder(point.id, target, seed)}/meta.json"
            for point in STUDY.in_view("main")
            for target in STUDY.targets
            for seed in STUDY.seeds
        ],
