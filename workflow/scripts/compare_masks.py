"""How far a client's masks agree across draws and sizes of the anchors, and in which layers its kept entries lie."""

import argparse
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="the plan of one seed, results/plans/compare_masks-*.json")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for masks.csv, kept.csv and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: selections and ranks of one layer at a time
    from sap.io import write_csv
    from sap.plans import read_plan
    from sap.provenance import Clock, save_meta
    from sap.stages.compare_masks.plan import MasksPlan
    from sap.stages.compare_masks.run import KEPT_COLUMNS, PAIR_COLUMNS, compare_masks

    clock, plan = Clock(), read_plan(args.plan, MasksPlan)
    pairs, kept = compare_masks(plan)
    write_csv(args.out / "masks.csv", pairs, PAIR_COLUMNS)
    write_csv(args.out / "kept.csv", kept, KEPT_COLUMNS)
    inputs = {f"adapter {name}": Path(folder) / "adapter_model.safetensors" for name, folder in plan.clients.items()}
    for draw, folders in plan.gradients.items():
        inputs |= {f"gradients {draw} {name}": Path(f) / "gradients.safetensors" for name, f in folders.items()}
    settings = {"sizes": list(plan.sizes), "ratios": list(plan.ratios)}
    save_meta(args.out, clock.meta("compare_masks", settings, inputs, args.code, seed=plan.seed))


if __name__ == "__main__":
    run(main, parse_args)
