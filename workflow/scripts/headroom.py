"""How much room one domain has above zero-shot: alignment, a linear probe, and what pooled and own training reach."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    task = Task("headroom", args)
    device = task.device
    from sap.failures import sentence_of, write_failures
    from sap.io import save_tensors
    from sap.probe.inputs import ADAPTER_FILE, model_files
    from sap.stages.headroom.plan import HeadroomPlan
    from sap.stages.headroom.run import ceilings_of, headroom

    plan = task.plan(HeadroomPlan)
    failed = []
    try:
        arrays, facts = headroom(plan, device)
    except Exception as error:  # the other domains go on
        arrays, facts = {}, {}
        failed.append({"stage": "headroom", "domain": plan.domain, "seed": plan.seed, "error": sentence_of(error)})
    write_failures(task.out, failed)
    save_tensors(task.out / "headroom.safetensors", arrays)
    inputs = model_files(plan) | {"images": Path(plan.data) / "index.csv"}
    inputs |= {f"{kind} {plan.seed}": Path(folder) / ADAPTER_FILE for kind, folder in ceilings_of(plan).items()}
    settings = {name: getattr(plan, name) for name in ("dataset", "domain", "precision", "images")}
    task.finish(settings, inputs, **facts)


if __name__ == "__main__":
    run(main, parse_args)
