"""End with status 1 and a sentence for each row of an experiment that failed; the next run tries those again."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.errors import SapError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="the experiment's plan, results/plans/NAME.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for complete.txt, results/tables/EXPERIMENT")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from sap.failures import hand_back
    from sap.findings.failed import EMPTY, failed_frame  # after parsing: --help stays instant
    from sap.io import write_text
    from sap.report.catalogue import COMPLETE
    from sap.report.frame import load_results

    results = load_results(args.plan)
    for folder in results.failures["folder"].unique():
        hand_back(folder)
    lines = [
        f"- {row['stage']}: {row['what']} ({row['where']}): {row['sentence']}"
        for _, row in failed_frame(results).iterrows()
    ]
    if lines:
        raise SapError(
            f"{len(results.failures)} rows could not be computed. All others are in the tables and figures, and the "
            f"same command tries the failed ones again; the list is {args.out / 'failed.md'}.\n" + "\n".join(lines)
        )
    write_text(args.out / COMPLETE, f"{EMPTY}\n")


if __name__ == "__main__":
    run(main, parse_args)
