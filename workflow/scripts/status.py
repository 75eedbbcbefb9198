"""Show where an experiment stands: jobs by stage, what runs, the time left, and the main table so far."""

from sap.cli import run
from sap.commands.status import main, parse_args

if __name__ == "__main__":
    run(main, parse_args)
