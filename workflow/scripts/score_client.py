"""Gradients of the anchors' image-text alignment at one client's weights, for nested anchor sets."""

import argparse
import json
from pathlib import Path

from sap.cli import run
from sap.devices import claim_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", required=True, help="name of the client, for meta.json")
    parser.add_argument("--seed", type=int, required=True, help="the client's seed, for meta.json")
    parser.add_argument("--adapter", type=Path, required=True, help="the client's PEFT adapter folder")
    parser.add_argument("--backbone", type=Path, required=True, help="folder of the backbone")
    parser.add_argument("--anchors", type=Path, required=True, help="folder of the anchors")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON object: alignment, reduction, sizes")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for gradients.safetensors and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    device, _slot = claim_device()
    from sap.clip.backbone import load_backbone
    from sap.io import load_tensors, save_tensors
    from sap.provenance import Clock, save_meta
    from sap.saliency.gradients import alignment_gradients
    from sap.update import check_update, load_adapter

    clock = Clock()
    alignment, reduction, sizes = (args.settings[name] for name in ("alignment", "reduction", "sizes"))
    backbone = load_backbone(args.backbone, device)
    update = load_adapter(args.adapter)
    shapes = {name: tuple(weight.shape) for name, weight in backbone.model.named_parameters()}
    check_update(update, shapes, str(args.adapter))
    anchors = load_tensors(args.anchors / "anchors.safetensors")
    pixels = backbone.normalise(anchors["images"])
    gradients, losses = alignment_gradients(
        backbone, update.to(device), pixels, anchors["tokens"], alignment, reduction, sizes, where=str(args.adapter)
    )
    save_tensors(args.out / "gradients.safetensors", gradients, {"alignment": alignment, "reduction": reduction})
    inputs = {
        "adapter": args.adapter / "adapter_model.safetensors",
        "anchors": args.anchors / "anchors.safetensors",
        "backbone": args.backbone / "open_clip_model.safetensors",
    }
    facts = {"client": args.client, "seed": args.seed, "loss": losses}
    save_meta(args.out, clock.meta("score_client", args.settings, inputs, args.code, device, **facts))


if __name__ == "__main__":
    run(main, parse_args)
