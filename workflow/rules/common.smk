"""The plan's doorman: rules ask here for settings, code fingerprints and inputs; all logic is in sap.plan."""

import json
import sys

from sap.cli import use_utf8
from sap.devices import visible_devices
from sap.errors import SapError
from sap.escape import terminal
from sap.io import canonical
from sap.plan import evidence, manifest, reporting
from sap.plan.backbones import files_of
from sap.plan.code import code_of, store_code
from sap.plan.datasets import captions_of, listing_of
from sap.plan.folders import claim_results
from sap.plan.ids import ID_PATTERN
from sap.plan.jobs import jobs_of
from sap.plan.notes import notes
from sap.plan.overlays import with_values
from sap.plan.places import inputs_of, stamp_of
from sap.plan.records import record, version_warnings
from sap.plan.study import build_study
from sap.report import catalogue

use_utf8()  # names of files are read before any rule

try:
    STUDY = build_study(with_values(config, workflow.config_settings.config_args or ()))
except SapError as error:  # a user's mistake is one sentence, not a traceback through Snakemake
    sys.exit(terminal(f"error in the config: {error}"))
try:
    manifest.update_index(STUDY)
    manifest.store_codes(STUDY)
except SapError as error:
    sys.exit(terminal(f"error: {error}"))
PACKAGES = manifest.counted_packages(STUDY)
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
    for sentence in version_warnings(jobs_of(STUDY, catalogue.files()), PACKAGES):
        print(f"warning: {sentence}", file=sys.stderr)
    record(STUDY, catalogue.files(), manifest.STORED)


IDS = "data backbone classes train anchors saliency measure diagnose headroom probe privacy towers masks cohort point"


wildcard_constraints:
    **{f"{name}_id": ID_PATTERN for name in IDS.split()},
    domain=r"[^/]+",
    target=r"[^/]+",
    trainee=r"[^/]+",
    seed=r"\d+",
    shard=r"\d+",


def settings(stage, *names):
    """Params function: canonical JSON of exactly what `stage` reads for the ids in the wildcards."""
    return lambda wildcards: STUDY.settings_of(stage, *(wildcards[name] for name in names))


def code(stage, *modules):
    """Fingerprint of the stage's code, and of modules that it finds by name: a changed formula counts, no comment."""
    store_code(PACKAGES, stage, *modules)
    return code_of(PACKAGES, stage, *modules)


def grows(amount):
    """Resource function: `amount` times the attempt, so that a job which ran out of it gets more when it is retried."""
    return lambda wildcards, attempt: amount * attempt


def gradient_files(clients, seeds):
    """Anchor gradients of some clients, of every kind that the points read."""
    return [
        f"{STUDY.saliency_folder(gradient, client, seed)}/meta.json"
        for gradient in STUDY.gradients
        for client in clients
        for seed in seeds
    ]


def plan_of_shard(wildcards):
    """The plan of one evaluation shard (a dict); a cohort of another config is an error."""
    STUDY.settings_of("evaluate", wildcards.cohort_id)
    return manifest.shard_plan(STUDY, wildcards.target, int(wildcards.seed), int(wildcards.shard))


def plan_of_point(wildcards):
    """The plan of one point's merge: its shard's plan with that point alone."""
    STUDY.settings_of("evaluate", wildcards.cohort_id)
    return manifest.point_plan(STUDY, wildcards.point_id, wildcards.target, int(wildcards.seed))


def plan_of_audit(wildcards):
    """The plan of one fold's audit: the merges of the main table."""
    STUDY.settings_of("evaluate", wildcards.cohort_id)
    return manifest.audit_plan(STUDY, wildcards.target, int(wildcards.seed))


def plan_of_seed(make):
    """Params function of a stage with one job per seed: its plan, stored under the stage's name."""
    return lambda wildcards: manifest.store_plan(make(STUDY, int(wildcards.seed)), make.__name__.removesuffix("_plan"))


def uploads_of_point(wildcards):
    """A client's adapter, and its gradients and statistics where the point reads any."""
    STUDY.settings_of("evaluate", wildcards.cohort_id)
    client, seed = STUDY.client(wildcards.trainee), wildcards.seed
    files = {"adapter": f"{client.folder(seed)}/meta.json"}
    gradient = STUDY.point(wildcards.point_id).gradient
    if gradient:
        files["gradients"] = f"{STUDY.saliency_folder(gradient, client, seed)}/gradients.safetensors"
    files["statistics"] = [
        f"{STUDY.measure_folder(STUDY.measure_id(kind), client, seed)}/statistics.safetensors"
        for kind in STUDY.point(wildcards.point_id).measured
    ]
    return files


def parts_of(wildcards):
    """Data folders of a trainee, in the order of its parts."""
    trainee = STUDY.trainee(wildcards.train_id, wildcards.trainee)
    return [STUDY.data_folder(domain) for domain, _ in trainee.parts]


def measured_on(wildcards):
    """Folders whose images pass through the client's model: its own domains, or the anchors."""
    if json.loads(STUDY.settings_of("measure", wildcards.measure_id))["source"] == "client":
        return parts_of(wildcards)
    return [STUDY.anchors_folder(0)]


def reported(stage, kind, names, suffix):
    """One output per table, page or figure, each with its own caption and its chapter in `snakemake --report`.

    One label only: of two, Snakemake makes a switch where values happen to be halved, and fails at a missing half.
    """
    return {
        name: report(
            f"results/{stage}/{STUDY.name}/{name}.{suffix}",
            caption=f"../report/{kind}_{name}.rst",
            category=STUDY.name,
            subcategory=catalogue.CHAPTER_OF[name],
            labels={"result": f"{title} ({kind})"},
        )
        for name, title in names.items()
    }
