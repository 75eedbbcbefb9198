"""Draw the figures of one experiment as PDF and PNG."""

import argparse
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="the experiment's plan, results/plans/NAME.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures, results/figures/EXPERIMENT")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from sap.report.frame import load_results  # after parsing: --help stays instant
    from sap.report.make import make_exhibits

    make_exhibits("figures", load_results(args.plan), args.out)


if __name__ == "__main__":
    run(main, parse_args)
