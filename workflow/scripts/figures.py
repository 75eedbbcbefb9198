"""Draw the figures of one experiment as PDF and PNG."""

from sap.cli import run
from sap.commands.figures import main, parse_args

if __name__ == "__main__":
    run(main, parse_args)
