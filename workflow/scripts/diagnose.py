"""Where the clients' updates agree and conflict, and in which layers the saliency lies."""

import argparse
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=Path, nargs="+", required=True, help="PEFT adapter folders")
    parser.add_argument("--names", nargs="+", required=True, help="the clients' names, in the same order")
    parser.add_argument("--gradients", type=Path, nargs="+", required=True, help="their gradients.safetensors files")
    parser.add_argument("--size", type=int, required=True, help="anchor set whose gradients count")
    parser.add_argument("--seed", type=int, required=True, help="the clients' seed")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for agreement.csv, saliency.csv and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: a few products per layer, a GPU would only wait
    from sap.compose import LazyGradients
    from sap.errors import SapError
    from sap.io import write_csv
    from sap.provenance import Clock, save_meta
    from sap.stats.agreement import client_agreement, layer_saliency
    from sap.update import check_alike, load_adapter

    clock = Clock()
    if not len(args.names) == len(args.clients) == len(args.gradients):
        raise SapError("--names, --clients and --gradients must have the same length. Name each client once in each.")
    updates = {name: load_adapter(folder) for name, folder in zip(args.names, args.clients, strict=True)}
    check_alike(updates)
    columns = ["seed", "layer", "client_a", "client_b", "cosine", "sign_conflict", "weighted_conflict", "angle"]
    rows = [{"seed": args.seed, **row} for row in client_agreement(updates)]
    write_csv(args.out / "agreement.csv", rows, columns)

    rows = []
    for (name, update), path in zip(updates.items(), args.gradients, strict=True):
        gradients = LazyGradients(path, args.size)
        signed = gradients.notes.get("reduction") != "mean_of_absolute"
        rows += [{"seed": args.seed, "client": name, **row} for row in layer_saliency(update, gradients, signed)]
    columns = ["seed", "client", "layer", "entries", "delta_norm", "gradient_norm", "score_share", "predicted_change"]
    write_csv(args.out / "saliency.csv", rows, columns)
    inputs = {f"adapter {n}": f / "adapter_model.safetensors" for n, f in zip(args.names, args.clients, strict=True)}
    inputs |= {f"gradients {n}": path for n, path in zip(args.names, args.gradients, strict=True)}
    save_meta(args.out, clock.meta("diagnose", {"size": args.size}, inputs, args.code, seed=args.seed))


if __name__ == "__main__":
    run(main, parse_args)
