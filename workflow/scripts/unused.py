"""List what no recorded experiment uses any more under results/; remove it with --delete."""

from sap.cli import run
from sap.commands.unused import main, parse_args

if __name__ == "__main__":
    run(main, parse_args)
