"""Write the tables of one experiment as CSV, Markdown, LaTeX and HTML."""

import argparse
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="the experiment's plan, results/plans/NAME.json")
    parser.add_argument("--headroom", action="store_true", help="only the table of the headroom, printed, too")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables, results/tables/EXPERIMENT")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from sap.report.frame import load_results  # after parsing: --help stays instant
    from sap.report.make import make_exhibits

    make_exhibits("headroom_table" if args.headroom else "tables", load_results(args.plan), args.out)
    if args.headroom:  # the first thing to look at
        print((args.out / "headroom.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run(main, parse_args)
