"""The plan's doorman: rules ask here for settings, code fingerprints and inputs; all logic is in sap.plan."""

import sys

from sap.cli import use_utf8
from sap.devices import visible_devices
from sap.errors import SapError
from sap.escape import terminal
from sap.failures import FAILED
from sap.io import canonical
from sap.pipeline import build_study, stages
from sap.plan import manifest, reporting
from sap.plan.backbones import files_of
from sap.plan.code import code_of, store_code
from sap.plan.datasets import captions_of, listing_of
from sap.plan.folders import claim_results
from sap.plan.folds import criterion_modules
from sap.plan.ids import ID_PATTERN
from sap.plan.notes import notes
from sap.plan.overlays import on_shipped, with_values
from sap.plan.records import record, version_warnings
from sap.plan.watched import inputs_of, stamp_of
from sap.report import catalogue

use_utf8()  # names of files are read before any rule

try:
    # A module's config is an overlay, and the values on the command line are not for it.
    given = on_shipped(config) if AS_MODULE else with_values(config, workflow.config_settings.config_args or ())
    STUDY = build_study(given)
except SapError as error:  # a user's mistake is one sentence, not a traceback through Snakemake
    sys.exit(terminal(f"error in the config: {error}"))
try:
    manifest.update_index(STUDY)
    manifest.store_codes(STUDY)
except SapError as error:
    sys.exit(terminal(f"error: {error}"))
PACKAGES = STUDY.counted_packages
if workflow.is_main_process:  # of a dry run, too; jobs read this file again
    for sentence in notes(STUDY):
        print(f"note: {sentence}", file=sys.stderr)

# One device where the machine has any: with no `gpu` limit in the profile Snakemake does not count it.
GPU = 1 if visible_devices() else 0


# Of a real run, not of a dry one: results/ is taken, its uses are written down, and libraries that changed are named.
onstart:
    if workflow.execution_settings.lock:
        try:
            claim_results()
        except SapError as error:
            sys.exit(terminal(f"error: {error}"))
    for sentence in version_warnings(STUDY.jobs, PACKAGES):
        print(f"warning: {sentence}", file=sys.stderr)
    record(STUDY, manifest.STORED)


STAGES = stages()


wildcard_constraints:
    id=ID_PATTERN,
    train_id=ID_PATTERN,
    point=ID_PATTERN,
    domain=r"[^/]+",
    target=r"[^/]+",
    trainee=r"[^/]+",
    seed=r"\d+",
    shard=r"\d+",


def outputs(stage):
    """The files of a stage's jobs: what grows is updated in place, what holds tensors must not be empty."""
    flag = update if STAGES[stage].grows else lambda path: ensure(path, non_empty=True)
    flagged = (".jsonl", ".safetensors") if STAGES[stage].grows else (".npy", ".safetensors")
    return [
        flag(path) if path.endswith(flagged) and not path.endswith(FAILED) else path for path in STAGES[stage].outputs
    ]


def logged(stage):
    """Where the words of a stage's jobs go."""
    return f"logs/{stage}/{STAGES[stage].pattern}.log"


def timed(stage):
    """Where Snakemake writes down the seconds of a stage's jobs."""
    return f"results/benchmarks/{stage}/{STAGES[stage].pattern}.tsv"


def needed(stage, **more):
    """What a stage's jobs need: of memory and time more at each attempt, so that a job which ran out of it is retried."""
    declared = STAGES[stage]
    grows = lambda amount: lambda wildcards, attempt: amount * attempt
    return {
        **({"gpu": GPU} if declared.gpu else {}),
        "mem_mb": grows(declared.memory),
        "runtime": grows(declared.minutes),
        **more,
    }


def folder(stage, inside=""):
    """Params function: the job's folder, or one inside it."""
    return lambda wildcards: f"{STAGES[stage].root}/{STAGES[stage].pattern}".format(**wildcards) + inside


def script(name):
    """Params function: the path of a script. One that takes `output` re-runs nothing, wherever the checkout lies."""
    return lambda wildcards, output: str(ROOT / f"workflow/scripts/{name}.py")


def plan(stage):
    """Params function: the job's plan as a file whose name carries its hash."""
    return lambda wildcards: manifest.store_plan(STUDY.plan(stage, **wildcards), stage)


def planned_inputs(stage):
    """Input function: the files that the job's plan names."""
    return lambda wildcards: STUDY.plan(stage, **wildcards).inputs()


def settings(stage, *names):
    """Params function: canonical JSON of exactly what `stage` reads for the ids in the wildcards."""
    return lambda wildcards: canonical(STUDY.settings_of(stage, "/".join(wildcards[name] for name in names)))


def code(stage, *modules):
    """Fingerprint of the stage's code, and of modules that it finds by name: a changed formula counts, no comment."""
    entries = ROOT / f"workflow/scripts/{stage}.py", *modules
    store_code(PACKAGES, *entries)
    return code_of(PACKAGES, *entries)


def plain(stage):
    """The files that the exhibits of a stage have besides those in the HTML report."""
    return [
        f"{STAGES[stage].root}/{STUDY.name}/{file}" for each in catalogue.made_by(stage) for file in each.files[:-1]
    ]


def reported(stage):
    """The file of each exhibit that `snakemake --report` shows, with its caption and its chapter.

    One label only: of two, Snakemake makes a switch where values happen to be halved, and fails at a missing half.
    """
    return {
        each.name: report(
            f"{STAGES[stage].root}/{STUDY.name}/{each.files[-1]}",
            caption=manifest.store_caption(each.caption, f"{each.kind}_{each.name}"),
            category=STUDY.name,
            subcategory=each.chapter,
            labels={"result": f"{each.title} ({each.kind})"},
        )
        for each in catalogue.made_by(stage)
    }


def finished(stage):
    """What a stage's jobs write last, and what of them failed."""
    return [f"{job.folder}/{name}" for job in STUDY.jobs if job.stage.name == stage for name in job.stage.marks]


REPORT = reporting.report_plan(STUDY)
REPORT_PLAN = manifest.store_plan(REPORT, f"report-{STUDY.name}")
