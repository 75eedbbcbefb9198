"""What a linear probe reads from the features under every point's update: the image's domain, and its class."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.devices import claim_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="the plan of all clients of one seed, results/plans/probe-*.json")
    parser.add_argument("--batch-size", type=int, default=256, help="images per forward pass")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for probe.safetensors, probe.csv, failed.jsonl, ..."
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    device, _slot = claim_device()
    from sap.failures import write_failures
    from sap.io import save_tensors, write_csv
    from sap.plans import read_plan
    from sap.probe.inputs import fold_files
    from sap.provenance import Clock, save_meta
    from sap.stages.probe.plan import ProbePlan
    from sap.stages.probe.run import probe

    clock = Clock()
    plan = read_plan(args.plan, ProbePlan)
    arrays, rows, failed = probe(plan, device, args.batch_size)
    save_tensors(args.out / "probe.safetensors", arrays)
    columns = ["seed", "point", "domain_accuracy", "class_accuracy", "n", "n_train", "norm"]
    write_csv(args.out / "probe.csv", rows, columns)
    settings = {name: getattr(plan, name) for name in ("dataset", "precision", "images")}
    facts = {
        "seed": plan.seed,
        "domains": list(plan.domains),
        "points": [row["point"] for row in rows],
    }
    write_failures(args.out, failed)
    save_meta(args.out, clock.meta("probe", settings, fold_files(plan), args.code, device, **facts))


if __name__ == "__main__":
    run(main, parse_args)
