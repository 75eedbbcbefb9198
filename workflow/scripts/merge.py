"""Merge PEFT adapters of any model, without the model; or, with --plan, one point's clients for the workflow."""

from sap.cli import run
from sap.commands.merge import main, parse_args

if __name__ == "__main__":
    run(main, parse_args)
