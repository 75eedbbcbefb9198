"""Judge the points of one shard on its target (and, for the main table, on the seen domains)."""

import argparse
import time
from collections.abc import Iterator
from typing import Any

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    parser = job_parser(__doc__)
    parser.add_argument("--batch-size", type=int, default=256, help="images per forward pass")
    parser.add_argument(
        "--cache-activations", type=int, choices=(0, 1), default=1, help="1 computes what lies below the LoRA once"
    )
    parser.add_argument("--save-every", type=float, default=20.0, help="seconds between two writes of the rows so far")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from sap.evaluate.rows import RowStore, name_of, row_keys
    from sap.failures import write_failures
    from sap.plans import FoldPlan

    task = Task("evaluate", args)
    plan = task.plan(FoldPlan)
    keys, store = row_keys(plan), RowStore(task.out)
    # Beside the outputs: Snakemake puts those of a failed or killed job back to what they were before it.
    side = RowStore(f"{task.out}.progress")
    store.adopt(side, keys)
    wanted = {name: key for name, key in keys.items() if not store.has(name, key)}
    failed = []
    if wanted:
        saved = time.monotonic()
        try:
            for found in judged(task, args, plan, wanted, failed):
                side.add(*found)
                if time.monotonic() - saved > args.save_every:
                    side.save()
                    saved = time.monotonic()
        finally:
            if side.rows:
                side.save()
        store.adopt(side, keys)
        store.drop(map(name_of, failed))
    write_failures(task.out, failed)
    if store.changed:
        store.save()
    else:
        store.touch()
        print("every row is there")
    side.remove()


def judged(task: Task, args: argparse.Namespace, plan: Any, wanted: dict, failed: list) -> Iterator[tuple]:
    """(row, probabilities, labels) of every wanted row; what cannot be computed joins `failed`."""
    device = task.device
    from sap.evaluate.judging import judge_points
    from sap.evaluate.load import load_fold
    from sap.progress import bar

    judge, tests, fold = load_fold(plan, device, args.batch_size, bool(args.cache_activations))
    rows = judge_points(plan, wanted, judge, tests, fold, failed)
    yield from bar(rows, total=len(wanted), desc="rows", unit="row", mininterval=2)


if __name__ == "__main__":
    run(main, parse_args)
