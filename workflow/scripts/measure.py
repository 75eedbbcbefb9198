"""Gram matrices or Fisher information of one client's own model, on its own images or on the anchors."""

import argparse
import json
from pathlib import Path

from sap.cli import run
from sap.devices import claim_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", required=True, help="name of the client")
    parser.add_argument("--seed", type=int, required=True, help="the client's seed")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON object: kind, source, images")
    parser.add_argument(
        "--share", type=json.loads, required=True, help="JSON: the client's parts, partition, corruption"
    )
    parser.add_argument("--adapter", type=Path, required=True, help="the client's PEFT adapter folder")
    parser.add_argument("--backbone", type=Path, required=True, help="folder of the backbone")
    parser.add_argument("--classes", type=Path, required=True, help="folder of the class texts' features")
    parser.add_argument("--inputs", type=Path, nargs="+", required=True, help="the client's domains, or the anchors")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--upload", type=Path, required=True, help="folder to hand over: statistics and their seal")
    parser.add_argument("--out", type=Path, required=True, help="folder that stays, for failed.jsonl and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    device, _slot = claim_device()
    from sap.clip.backbone import WEIGHTS_FILE, load_backbone
    from sap.failures import sentence_of, write_failures
    from sap.io import save_tensors, seed_of
    from sap.measure.inputs import anchor_inputs, client_inputs
    from sap.measure.statistics import client_statistics
    from sap.provenance import Clock, save_meta, save_upload
    from sap.update import check_update, load_adapter

    clock = Clock()
    kind, source, images = (args.settings[name] for name in ("kind", "source", "images"))
    backbone = load_backbone(args.backbone, device)
    if source == "client":
        measured = client_inputs(backbone, args.inputs, args.classes, args.share, args.client, args.seed, images)
    else:
        measured = anchor_inputs(backbone, args.inputs[0], images)
    update = load_adapter(args.adapter).to(device)
    shapes = {name: tuple(weight.shape) for name, weight in backbone.model.named_parameters()}
    check_update(update, shapes, str(args.adapter))
    drawn = seed_of("measure", args.client, args.seed)
    facts, notes = {"client": args.client, "seed": args.seed}, {"kind": kind, "source": source}
    failed = []
    try:
        statistics = client_statistics(backbone, update, *measured, kinds=(kind,), seed=drawn, where=str(args.adapter))
    except Exception as error:  # the points that read none of it go on
        statistics, notes = {}, notes | {"failed": sentence_of(error)}
        failed.append({"stage": "measure", **facts, "error": notes["failed"]})
    save_tensors(args.upload / "statistics.safetensors", statistics, notes)
    write_failures(args.out, failed)
    inputs = {
        "adapter": args.adapter / "adapter_model.safetensors",
        "backbone": args.backbone / WEIGHTS_FILE,
    }
    save_upload(args.upload, "measure", facts, ["statistics.safetensors"])
    save_meta(args.out, clock.meta("measure", args.settings, inputs, args.code, device, **facts))


if __name__ == "__main__":
    run(main, parse_args)
