"""Write the tables of one experiment as CSV, Markdown, LaTeX and HTML."""

import argparse
from collections.abc import Callable
from pathlib import Path


def parser(make: Callable[..., argparse.ArgumentParser] = argparse.ArgumentParser) -> argparse.ArgumentParser:
    made = make(description=__doc__)
    made.add_argument("--plan", type=Path, required=True, help="the experiment's plan, results/plans/NAME.json")
    made.add_argument("--headroom", action="store_true", help="only the table of the headroom, printed, too")
    made.add_argument("--out", type=Path, required=True, help="folder for the tables, results/tables/EXPERIMENT")
    return made


def parse_args() -> argparse.Namespace:
    return parser().parse_args()


def main(args: argparse.Namespace) -> None:
    from sap.report.frame import load_results  # after parsing: --help stays instant
    from sap.report.tables import write_headroom, write_tables

    (write_headroom if args.headroom else write_tables)(load_results(args.plan), args.out)
