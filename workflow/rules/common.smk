"""The plan's doorman: rules ask here for settings, code fingerprints and inputs; all logic is in sap.plan."""

import sys

from sap.cli import use_utf8
from sap.devices import visible_devices
from sap.errors import SapError
from sap.escape import terminal
from sap.failures import FAILED
from sap.pipeline import build_study, stages
from sap.plan import manifest, reporting
from sap.plan.code import code_of, store_code
from sap.plan.folders import claim_results
from sap.plan.ids import ID_PATTERN
from sap.plan.notes import notes
from sap.plan.overlays import on_shipped, with_values
from sap.plan.records import record, report_slug, version_warnings
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


REPORT = reporting.report_plan(STUDY)
REPORT_PLAN = manifest.store_plan(REPORT, report_slug(STUDY.name))
