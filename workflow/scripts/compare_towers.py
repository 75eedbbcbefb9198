"""Where the updates of clients that adapt both towers conflict: the visual against the text tower, layer by layer."""

import argparse
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help='JSON file: {"seed", "clients": {name: PEFT adapter folder}}')
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for towers.csv and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: a few products per layer, a GPU would only wait
    from sap.errors import SapError
    from sap.io import read_plan, write_csv
    from sap.lowrank import rank_of
    from sap.provenance import Clock, save_meta
    from sap.stats.agreement import chance_angle, client_agreement
    from sap.update import check_alike, load_adapter

    clock, plan = Clock(), read_plan(args.plan)
    updates = {name: load_adapter(folder) for name, folder in plan["clients"].items()}
    check_alike(updates)
    layers = next(iter(updates.values()))
    towers = {layer: "visual" if layer.startswith("visual.") else "text" for layer in layers}
    if len(set(towers.values())) < 2:
        raise SapError(
            f"{args.plan}: its clients must adapt both towers, they adapt {towers.popitem()[1]} layers only. "
            "Train them with train.lora.towers: both."
        )
    ranks = {name: {layer: rank_of(update[layer]) for layer in update} for name, update in updates.items()}
    norms = {name: update.norms() for name, update in updates.items()}
    rows = []
    for row in client_agreement(updates):
        layer, a, b = row["layer"], row["client_a"], row["client_b"]
        chance = chance_angle(layers.shape(layer)[0], ranks[a][layer], ranks[b][layer], plan["seed"])
        facts = {"chance_angle": chance, "norm_a": norms[a][layer], "norm_b": norms[b][layer]}
        rows.append({"seed": plan["seed"], "tower": towers[layer], **row, **facts})
    columns = ["seed", "tower", "layer", "client_a", "client_b", "cosine", "sign_conflict", "weighted_conflict"]
    write_csv(args.out / "towers.csv", rows, [*columns, "angle", "chance_angle", "norm_a", "norm_b"])
    inputs = {f"adapter {name}": Path(folder) / "adapter_model.safetensors" for name, folder in plan["clients"].items()}
    save_meta(args.out, clock.meta("compare_towers", {}, inputs, args.code, seed=plan["seed"]))


if __name__ == "__main__":
    run(main, parse_args)
