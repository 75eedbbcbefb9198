"""Where the updates of clients that adapt both towers conflict: the visual against the text tower, layer by layer."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: a few products per layer, a GPU would only wait
    from sap.io import write_csv
    from sap.stages.compare_towers.plan import TowersPlan
    from sap.stages.compare_towers.run import COLUMNS, compare_towers

    task = Task("compare_towers", args)
    plan = task.plan(TowersPlan)
    write_csv(task.out / "towers.csv", compare_towers(plan), COLUMNS)
    inputs = {f"adapter {name}": Path(folder) / "adapter_model.safetensors" for name, folder in plan.clients.items()}
    task.finish({}, inputs, seed=plan.seed)


if __name__ == "__main__":
    run(main, parse_args)
