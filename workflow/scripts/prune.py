"""One client's update as a point prunes and rescales it, written to a file for inspection."""

import argparse
import json
from collections import ChainMap
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", required=True, help="name of the client; it decides random masks")
    parser.add_argument("--seed", type=int, required=True, help="the client's seed; it decides random masks")
    parser.add_argument("--adapter", type=Path, required=True, help="the client's PEFT adapter folder")
    parser.add_argument("--gradients", type=Path, help="its gradients.safetensors, if the criterion needs one")
    parser.add_argument("--statistics", type=Path, nargs="*", default=[], help="its statistics.safetensors, likewise")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON object: the point")
    parser.add_argument("--code", default="", help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for update.safetensors and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: one pass over one update, a GPU would only wait
    from sap.compose import Composer, LazyGradients, LazyTensors
    from sap.io import canonical
    from sap.provenance import Clock, save_meta
    from sap.update import load_adapter, save_update

    clock = Clock()
    update = load_adapter(args.adapter)
    reader = args.gradients and (lambda point, client: LazyGradients(args.gradients, point["anchor_size"]))
    measured = ChainMap(*(LazyTensors(path) for path in args.statistics))
    statistics = lambda point, client: measured  # noqa: E731
    composer = Composer({args.client: update}, gradients=reader, seed=args.seed, statistics=statistics)
    pruned = composer.prune(args.settings, args.client)
    save_update(args.out / "update.safetensors", pruned, {"settings": canonical(args.settings)})
    inputs = {"adapter": args.adapter / "adapter_model.safetensors"}
    if args.gradients:
        inputs["gradients"] = args.gradients
    inputs |= {path.parents[4].name: path for path in args.statistics}
    kept = {layer: int((pruned.dense(layer) != 0).sum()) for layer in pruned}
    facts = {"client": args.client, "seed": args.seed, "norms": update.norms(), "pruned_norms": pruned.norms()}
    save_meta(args.out, clock.meta("prune", args.settings, inputs, args.code, non_zero_entries=kept, **facts))


if __name__ == "__main__":
    run(main, parse_args)
