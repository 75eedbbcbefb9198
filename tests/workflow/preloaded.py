"""What every dry run does first, done once: imports, Snakemake's plugins, the fingerprints of the code as it is."""

import gc

import requests  # noqa: F401
import smart_open  # noqa: F401
from snakemake.cli import get_argument_parser

from sap.pipeline import stages
from sap.plan import manifest, notes, overlays, reporting, watched  # noqa: F401
from sap.plan.fingerprint import fingerprint
from tests.workflow.small_study import ROOT

get_argument_parser()
stages()
for script in ROOT.glob("workflow/scripts/*.py"):
    fingerprint(script)
gc.freeze()  # a fork need not look through all of this for garbage: a quarter of its time
