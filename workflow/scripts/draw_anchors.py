"""Draw the server's public image-text pairs and tokenise their captions for one backbone."""

import argparse
import json
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, type=json.loads, help="JSON object: anchors, draw, input, digits")
    parser.add_argument("--backbone", required=True, type=Path, help="folder of the backbone, for its tokenizer")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", required=True, type=Path, help="folder of the anchors")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: tokens are made on the CPU, a GPU would only wait
    from sap.clip.backbone import CONFIG_FILE, load_tokenizer
    from sap.clip.checkpoint import read_config
    from sap.config import parse
    from sap.data.anchors import draw_anchors
    from sap.data.images import Geometry
    from sap.data.options import AnchorOptions, DigitsOptions
    from sap.io import save_tensors, write_csv
    from sap.provenance import Clock, save_meta

    clock = Clock()
    settings = args.settings
    options = parse(AnchorOptions, settings["anchors"], where="anchors")
    digits = parse(DigitsOptions, settings["digits"] or {}, where="data.digits")
    anchors = draw_anchors(options, settings["draw"], Geometry(**settings["input"]), digits)
    read_config(args.backbone / CONFIG_FILE)  # one sentence for a broken backbone; its weights are not needed
    tokens = load_tokenizer(args.backbone)(anchors.captions).numpy()
    save_tensors(args.out / "anchors.safetensors", {"images": anchors.images, "tokens": tokens})
    rows = [{"file": f, "caption": c} for f, c in zip(anchors.files, anchors.captions, strict=True)]
    write_csv(args.out / "anchors.csv", rows, ["file", "caption"])
    read = {"backbone": args.backbone / CONFIG_FILE}
    save_meta(args.out, clock.meta("draw_anchors", settings, read, args.code))


if __name__ == "__main__":
    run(main, parse_args)
