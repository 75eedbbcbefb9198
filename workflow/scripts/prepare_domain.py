"""Decode, split and store the images of one domain at the backbone's input size."""

import argparse

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    parser = job_parser(__doc__)
    parser.add_argument("--threads", type=int, default=1, help="images decoded at the same time")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from sap.data.images import Geometry
    from sap.data.prepare import parse_data, prepare_domain
    from sap.stages.prepare_domain.plan import DomainPlan

    task = Task("prepare_domain", args)
    plan = task.plan(DomainPlan)
    options, own = parse_data(plan.data)
    facts = prepare_domain(plan.domain, options, Geometry(**plan.input), plan.classes, task.out, args.threads, own)
    settings = {"data": plan.data, "input": plan.input, "classes": plan.classes}
    task.finish(settings, {}, domain=plan.domain, **facts)


if __name__ == "__main__":
    run(main, parse_args)
