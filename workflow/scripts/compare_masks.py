"""How far a client's masks agree across draws and sizes of the anchors, and in which layers its kept entries lie."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: selections and ranks of one layer at a time
    from sap.io import write_csv
    from sap.stages.compare_masks.plan import MasksPlan
    from sap.stages.compare_masks.run import KEPT_COLUMNS, PAIR_COLUMNS, compare_masks

    task = Task("compare_masks", args)
    plan = task.plan(MasksPlan)
    pairs, kept = compare_masks(plan)
    write_csv(task.out / "masks.csv", pairs, PAIR_COLUMNS)
    write_csv(task.out / "kept.csv", kept, KEPT_COLUMNS)
    inputs = {f"adapter {name}": Path(folder) / "adapter_model.safetensors" for name, folder in plan.clients.items()}
    for draw, folders in plan.gradients.items():
        inputs |= {f"gradients {draw} {name}": Path(f) / "gradients.safetensors" for name, f in folders.items()}
    task.finish({"sizes": plan.sizes, "ratios": plan.ratios}, inputs, seed=plan.seed)


if __name__ == "__main__":
    run(main, parse_args)
