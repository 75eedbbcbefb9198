"""Compute the text features of the classes once: the frozen classifier of every client and every evaluation."""

import argparse
import json
from pathlib import Path

from sap.cli import run
from sap.devices import claim_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", type=Path, required=True, help="folder of prepare_backbone")
    parser.add_argument(
        "--settings", type=json.loads, required=True, help='JSON: {"classes": [texts], "prompts": [templates]}'
    )
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code")
    parser.add_argument("--out", type=Path, required=True, help="folder for text_features.safetensors and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    device, _slot = claim_device()
    from sap.clip.backbone import count_cut, load_backbone
    from sap.clip.checkpoint import WEIGHTS_FILE
    from sap.clip.prompts import class_features
    from sap.io import save_tensors
    from sap.provenance import Clock, save_meta

    clock = Clock()
    backbone = load_backbone(args.backbone, device)
    classes, prompts = args.settings["classes"], args.settings["prompts"]
    features = class_features(backbone, classes, prompts)
    cut = count_cut(backbone.tokenizer, [prompt.replace("{}", name) for name in classes for prompt in prompts])
    if cut:
        print(f"{cut} prompts are longer than {backbone.tokenizer.context_length} tokens: cut there")
    tensors = {"features": features, "logit_scale": backbone.logit_scale}
    save_tensors(args.out / "text_features.safetensors", tensors)
    inputs = {"backbone": args.backbone / WEIGHTS_FILE}
    save_meta(args.out, clock.meta("embed_classes", args.settings, inputs, args.code, device))


if __name__ == "__main__":
    run(main, parse_args)
