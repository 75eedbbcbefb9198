"""What each client's upload tells about its training images, and its bytes: before and after pruning."""

import argparse

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    task = Task("privacy", args)
    device = task.device
    from sap.failures import write_failures
    from sap.io import write_csv
    from sap.plans import as_json
    from sap.probe.inputs import fold_files
    from sap.stages.privacy.plan import PrivacyPlan
    from sap.stages.privacy.run import BYTE_COLUMNS, SCORE_COLUMNS, privacy

    plan = task.plan(PrivacyPlan)
    scores, uploads, failed = privacy(plan, device)
    write_csv(task.out / "privacy.csv", scores, SCORE_COLUMNS)
    write_csv(task.out / "bytes.csv", uploads, BYTE_COLUMNS)
    write_failures(task.out, failed)
    plain = as_json(plan)
    settings = {name: plain[name] for name in ("dataset", "precision", "images", "shares")}
    task.finish(settings, fold_files(plan), seed=plan.seed, points=[point.id for point in plan.points])


if __name__ == "__main__":
    run(main, parse_args)
