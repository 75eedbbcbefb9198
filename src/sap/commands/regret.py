"""Print how far each row lies behind the best of its bed, over several experiments that have run here."""

import argparse
from collections.abc import Callable
from pathlib import Path


def parser(make: Callable[..., argparse.ArgumentParser] = argparse.ArgumentParser) -> argparse.ArgumentParser:
    made = make(description=__doc__)
    made.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="names of experiments, two or more")
    made.add_argument("--out", type=Path, help="folder for regret.csv, .md, .tex and .html, beside what is printed")
    return made


def main(args: argparse.Namespace) -> None:
    from sap.errors import SapError  # after parsing: --help stays instant
    from sap.plan.records import experiments, report_of

    known = experiments()
    for name in args.experiments:
        if not report_of(name):
            raise SapError(
                f"there is no experiment '{name}' that has run here; those that have: {', '.join(known) or 'none'}. "
                "Run it first, from the folder that holds results/."
            )
    if len(set(args.experiments)) < 2:
        raise SapError(f"regret compares experiments, got {args.experiments[0]} alone. Name two or more.")
    from sap.findings.beds import regret_of
    from sap.report.catalogue import TABLES
    from sap.report.frame import load_results
    from sap.report.write import markdown, write_table

    table = regret_of([load_results(report_of(name)) for name in dict.fromkeys(args.experiments)])
    print(markdown(table, TABLES["regret"].title))
    if args.out:
        write_table(table, TABLES["regret"].title, "regret", args.out)
