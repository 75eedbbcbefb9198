"""What a linear probe reads from the features under every point's update: the image's domain, and its class."""

import argparse

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    task = Task("probe", args)
    device = task.device
    from sap.failures import write_failures
    from sap.io import save_tensors, write_csv
    from sap.probe.inputs import fold_files
    from sap.stages.probe.plan import ProbePlan
    from sap.stages.probe.run import COLUMNS, probe

    plan = task.plan(ProbePlan)
    arrays, rows, failed = probe(plan, device)
    save_tensors(task.out / "probe.safetensors", arrays)
    write_csv(task.out / "probe.csv", rows, COLUMNS)
    write_failures(task.out, failed)
    settings = {name: getattr(plan, name) for name in ("dataset", "precision", "images")}
    facts = {"seed": plan.seed, "domains": list(plan.domains), "points": [row["point"] for row in rows]}
    task.finish(settings, fold_files(plan), **facts)


if __name__ == "__main__":
    run(main, parse_args)
