"""How far a client's masks agree across draws and sizes of the anchors, and in which layers its kept entries lie."""

import argparse
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    plan = (
        '{"seed", "clients": {name: adapter folder}, "gradients": {draw: {client: folder}}, "sizes": [], "ratios": []}'
    )
    parser.add_argument("--plan", required=True, help=f"JSON file: {plan}")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for masks.csv, kept.csv and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: selections and ranks of one layer at a time
    from sap.compose import LazyGradients
    from sap.io import read_plan, seed_of, write_csv
    from sap.progress import bar
    from sap.provenance import Clock, save_meta
    from sap.prune.magnitude import magnitude
    from sap.prune.taylor import taylor_absolute
    from sap.stats.masks import kept_by_layer, mask_agreement
    from sap.update import load_adapter

    clock, plan = Clock(), read_plan(args.plan)
    ratios, names = plan["ratios"], {"seed": plan["seed"]}
    sources = [(draw, size) for draw in sorted(map(int, plan["gradients"])) for size in sorted(plan["sizes"])]
    pairs, kept, inputs = [], [], {}
    for client, folder in bar(plan["clients"].items(), desc="clients", unit="client", mininterval=2):
        update = load_adapter(folder)
        files = {draw: Path(folders[client]) / "gradients.safetensors" for draw, folders in plan["gradients"].items()}
        gradients = {(draw, size): LazyGradients(files[str(draw)], size) for draw, size in sources}
        layers = (
            {source: taylor_absolute(update.dense(layer), found[layer]) for source, found in gradients.items()}
            | {("magnitude", 0): magnitude(update.dense(layer))}
            for layer in update
        )
        for row in mask_agreement(layers, ratios, seed_of("compare-masks", client, plan["seed"])):
            (draw_a, size_a), (draw_b, size_b) = row.pop("source_a"), row.pop("source_b")
            sides = {"draw_a": draw_a, "size_a": size_a, "draw_b": draw_b, "size_b": size_b}
            pairs.append(names | {"client": client} | sides | row)
        shown = gradients[sources[0][0], max(plan["sizes"])]
        whole = {layer: taylor_absolute(update.dense(layer), shown[layer]) for layer in update}
        kept += [names | {"client": client} | row for row in kept_by_layer(whole, ratios)]
        inputs[f"adapter {client}"] = Path(folder) / "adapter_model.safetensors"
        inputs |= {f"gradients {draw} {client}": path for draw, path in files.items()}
    columns = ["seed", "client", "ratio", "draw_a", "size_a", "draw_b", "size_b", "jaccard", "chance", "spearman"]
    write_csv(args.out / "masks.csv", pairs, columns)
    write_csv(args.out / "kept.csv", kept, ["seed", "client", "ratio", "layer", "entries", "kept"])
    settings = {"sizes": plan["sizes"], "ratios": ratios}
    save_meta(args.out, clock.meta("compare_masks", settings, inputs, args.code, seed=plan["seed"]))


if __name__ == "__main__":
    run(main, parse_args)
