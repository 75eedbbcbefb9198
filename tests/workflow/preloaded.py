"""What every dry run does first, done once: imports, Snakemake's plugins, the fingerprints of the code as it is."""

from snakemake.cli import get_argument_parser

from sap.plan import manifest  # noqa: F401
from sap.plan.fingerprint import SCRIPTS, fingerprint

get_argument_parser()
for script in SCRIPTS.glob("*.py"):
    fingerprint(script.stem)
