"""Write the tables of one experiment as CSV, Markdown, LaTeX and HTML."""

from sap.cli import run
from sap.commands.tables import main, parse_args

if __name__ == "__main__":
    run(main, parse_args)
