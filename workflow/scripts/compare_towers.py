"""Where the updates of clients that adapt both towers conflict: the visual against the text tower, layer by layer."""

import argparse
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="the plan of one seed, results/plans/compare_towers-*.json")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for towers.csv and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: a few products per layer, a GPU would only wait
    from sap.io import write_csv
    from sap.plans import read_plan
    from sap.provenance import Clock, save_meta
    from sap.stages.compare_towers.plan import TowersPlan
    from sap.stages.compare_towers.run import COLUMNS, compare_towers

    clock, plan = Clock(), read_plan(args.plan, TowersPlan)
    write_csv(args.out / "towers.csv", compare_towers(plan), COLUMNS)
    inputs = {f"adapter {name}": Path(folder) / "adapter_model.safetensors" for name, folder in plan.clients.items()}
    save_meta(args.out, clock.meta("compare_towers", {}, inputs, args.code, seed=plan.seed))


if __name__ == "__main__":
    run(main, parse_args)
