"""Draw the figures of one experiment as PDF and PNG."""

import argparse
from collections.abc import Callable
from pathlib import Path


def parser(make: Callable[..., argparse.ArgumentParser] = argparse.ArgumentParser) -> argparse.ArgumentParser:
    made = make(description=__doc__)
    made.add_argument("--plan", type=Path, required=True, help="the experiment's plan, results/plans/NAME.json")
    made.add_argument("--out", type=Path, required=True, help="folder for the figures, results/figures/EXPERIMENT")
    return made


def parse_args() -> argparse.Namespace:
    return parser().parse_args()


def main(args: argparse.Namespace) -> None:
    from sap.report.frame import load_results  # after parsing: --help stays instant
    from sap.report.make import make_exhibits

    make_exhibits("figures", load_results(args.plan), args.out)
