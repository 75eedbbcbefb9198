"""Semantically-anchored pruning: from images to paper tables. Read the includes from top to bottom."""

from sap.plan.folders import from_here
from sap.plan.overlays import base_config
from snakemake.utils import min_version

min_version("9.20")

ROOT = from_here(workflow.current_basedir.get_path_or_uri(secret_free=True))
AS_MODULE = not workflow.modifier.is_main_snakefile()  # of another workflow
if not AS_MODULE:

    configfile: str(base_config())


report: "workflow/report/workflow.rst"


# Used with --sdm apptainer only; envs/sap.def builds it.
container: str(ROOT / "envs/sap.sif")


include: "workflow/rules/common.smk"
include: "workflow/rules/declared.smk"


for stage in STAGES:

    include: f"workflow/rules/{stage}.smk"


rule all:
    """The tables and figures of the config's experiment, and whether every row of them could be computed."""
    default_target: True
    input:
        rules.complete.output,  # made of all the others


rule clients:
    """Every adapter of the experiment, and nothing after."""
    input:
        finished("train_client"),


rule gradients:
    """Every client's anchor gradients, and nothing after."""
    input:
        finished("score_client"),


rule merged:
    """The merged updates of the main table as files, with a model card each."""
    input:
        [
            f"{STUDY.folder('merge', point=point.id, target=target, seed=seed)}/meta.json"
            for point in STUDY.in_view("main")
            for target in STUDY.targets
            for seed in STUDY.seeds
        ],
