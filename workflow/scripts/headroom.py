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
    from sap.io import save_tensors
    from sap.plans import read_plan
    from sap.probe.inputs import ADAPTER_FILE, model_files
    from sap.provenance import Clock, save_meta
    from sap.stages.headroom.plan import HeadroomPlan
    from sap.stages.headroom.run import ceilings_of, headroom

    clock = Clock()
    plan = read_plan(args.plan, HeadroomPlan)
    failed = []
    try:
        arrays, facts = headroom(plan, device, args.batch_size)
    except Exception as error:  # the other domains go on
        arrays, facts = {}, {}
        failed.append({"stage": "headroom", "domain": plan.domain, "seed": plan.seed, "error": sentence_of(error)})
    write_failures(args.out, failed)
    save_tensors(args.out / "headroom.safetensors", arrays)
    inputs = model_files(plan) | {"images": Path(plan.data) / "index.csv"}
    inputs |= {f"{kind} {plan.seed}": Path(folder) / ADAPTER_FILE for kind, folder in ceilings_of(plan).items()}
    settings = {name: getattr(plan, name) for name in ("dataset", "domain", "precision", "images")}
    save_meta(args.out, clock.meta("headroom", settings, inputs, args.code, device, **facts))


if __name__ == "__main__":
    run(main, parse_args)
