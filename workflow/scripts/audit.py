"""What each merge of one fold does with its clients: weights, cross terms, norm, survivors, equivariances, rank."""

import argparse
import shutil
import time
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    parser = job_parser(__doc__)
    parser.add_argument("--save-every", type=float, default=20.0, help="seconds between two writes of the rows so far")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: the merges stay where the updates are, on the CPU
    from sap.evaluate.rows import Judged, row_keys
    from sap.failures import sentence_of, writable, write_failures
    from sap.io import canonical, digest, sealed, sealed_rows, write_jsonl
    from sap.plans import FoldPlan

    task = Task("audit", args)
    plan = task.plan(FoldPlan)
    path = task.out / "audit.jsonl"
    # Beside the output: Snakemake puts that of a failed or killed job back to what it was before it.
    side = Path(f"{task.out}.progress")
    # what the merge depends on, and what is measured of it
    found = row_keys(plan)
    keys = {point.id: digest(canonical([found[point.id, *Judged(plan.target)], task.code])) for point in plan.points}
    kept: dict[str, dict[str, dict]] = {}  # point -> layer -> row
    for row in sealed_rows(path)[0] + sealed_rows(side / path.name)[0]:
        if keys.get(row["point"]) == row["key"]:
            kept.setdefault(row["point"], {})[row["layer"]] = row
    kept = {point: rows for point, rows in kept.items() if all(row["layers"] == len(rows) for row in rows.values())}

    def write(folder: Path) -> None:
        write_jsonl(folder / path.name, [row for point in sorted(kept) for row in kept[point].values()])

    failed = []
    missing = [point for point in plan.points if point.id not in kept]
    if missing:
        from sap.evaluate.composer import by_recipe
        from sap.progress import bar
        from sap.stages.audit.run import audit_point

        composer, saved = by_recipe(plan), time.monotonic()
        try:
            for point in bar(missing, desc="merges", unit="merge", mininterval=2):
                names = {"point": point.id, "target": plan.target, "seed": plan.seed}
                try:
                    rows = [writable(row) for row in audit_point(composer(point.settings), point.settings)]
                except Exception as error:
                    failed.append({"stage": "audit", **names, "error": sentence_of(error)})
                    continue
                names |= {"key": keys[point.id], "layers": len(rows)}
                kept[point.id] = {row["layer"]: sealed(names | row) for row in rows}
                if time.monotonic() - saved > args.save_every:
                    write(side)
                    saved = time.monotonic()
        finally:
            if kept:
                write(side)
    write_failures(task.out, failed)
    write(task.out)
    shutil.rmtree(side, ignore_errors=True)


if __name__ == "__main__":
    run(main, parse_args)
