"""What every dry run does first, done once: imports, Snakemake's plugins, the fingerprints of the code as it is."""

from snakemake.cli import get_argument_parser

from sap.plan import manifest  # noqa: F401
from sap.plan.fingerprint import fingerprint
from tests.workflow.small_study import ROOT

get_argument_parser()
for script in ROOT.glob("workflow/scripts/*.py"):
    fingerprint(script)
