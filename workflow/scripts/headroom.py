"""How much room one domain has above zero-shot: alignment, a linear probe, and what pooled and own training reach."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.devices import claim_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="the domain's plan, results/plans/headroom-*.json")
    parser.add_argument("--batch-size", type=int, default=256, help="images per forward pass")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for headroom.safetensors, failed.jsonl, meta.json"
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    device, _slot = claim_device()
    from sap.failures import sentence_of, write_failures
    from sap.io import read_plan, save_tensors
    from sap.probe.headroom import CEILINGS, headroom
    from sap.probe.inputs import ADAPTER_FILE, model_files
    from sap.provenance import Clock, save_meta

    clock = Clock()
    plan = read_plan(args.plan)
    failed = []
    try:
        arrays, facts = headroom(plan, device, args.batch_size)
    except Exception as error:  # the other domains go on
        arrays, facts, seed = {}, {}, int(next(iter(plan["pooled"] | plan["oracle"])))
        failed.append({"stage": "headroom", "domain": plan["domain"], "seed": seed, "error": sentence_of(error)})
    write_failures(args.out, failed)
    save_tensors(args.out / "headroom.safetensors", arrays)
    inputs = model_files(plan) | {"images": Path(plan["data"]) / "index.csv"}
    for kind in CEILINGS:
        inputs |= {f"{kind} {seed}": Path(folder) / ADAPTER_FILE for seed, folder in plan[kind].items()}
    settings = {name: plan[name] for name in ("dataset", "domain", "precision", "images")}
    save_meta(args.out, clock.meta("headroom", settings, inputs, args.code, device, **facts))


if __name__ == "__main__":
    run(main, parse_args)
