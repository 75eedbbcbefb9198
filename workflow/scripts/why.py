"""Say in words what would run, and why: a dry run, and what Snakemake cannot know about ids, code and rows."""

from sap.cli import run
from sap.commands.why import main, parse_args

if __name__ == "__main__":
    run(main, parse_args)
