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
    from sap.report.make import make_exhibits

    make_exhibits("headroom_table" if args.headroom else "tables", load_results(args.plan), args.out)
    if args.headroom:  # the first thing to look at
        print((args.out / "headroom.md").read_text(encoding="utf-8"))
