"""What each client's upload tells about its training images, and its bytes: before and after pruning."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.devices import claim_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="the plan of all clients of a seed, results/plans/privacy-*.json")
    parser.add_argument("--batch-size", type=int, default=256, help="images per forward pass")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for privacy.csv, bytes.csv, failed.jsonl, ...")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    device, _slot = claim_device()
    from sap.failures import write_failures
    from sap.io import write_csv
    from sap.plans import read_plan
    from sap.probe.inputs import fold_files
    from sap.provenance import Clock, save_meta
    from sap.stages.privacy.plan import PrivacyPlan
    from sap.stages.privacy.run import privacy

    clock = Clock()
    plan = read_plan(args.plan, PrivacyPlan)
    scores, uploads, failed = privacy(plan, device, args.batch_size)
    columns = ["seed", "client", "point", "score", "auc", "auc_low", "auc_high", "tpr", "members", "non_members"]
    write_csv(args.out / "privacy.csv", scores, columns)
    columns = ["seed", "client", "point", "entries", "kept", "factor_bytes", "entry_bytes", "saved"]
    write_csv(args.out / "bytes.csv", uploads, columns)
    write_failures(args.out, failed)
    settings = {name: getattr(plan, name) for name in ("dataset", "precision", "images", "shares")}
    facts = {"seed": plan.seed, "points": [point.id for point in plan.points]}
    save_meta(args.out, clock.meta("privacy", settings, fold_files(plan), args.code, device, **facts))


if __name__ == "__main__":
    run(main, parse_args)
