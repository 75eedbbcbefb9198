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
    from sap.clip.backbone import CONFIG_FILE, count_cut, load_tokenizer
    from sap.clip.checkpoint import read_config
    from sap.config import parse
    from sap.data.anchors import draw_anchors, repeats
    from sap.data.images import Geometry, Rotations
    from sap.data.options import AnchorOptions, DigitsOptions
    from sap.io import save_tensors, write_csv
    from sap.provenance import Clock, save_meta

    clock = Clock()
    settings = args.settings
    options = parse(AnchorOptions, settings["anchors"], where="anchors")
    digits = parse(DigitsOptions, settings["digits"] or {}, where="data.digits")
    rotations = Rotations()
    anchors = draw_anchors(options, settings["draw"], Geometry(**settings["input"]), digits, rotations)
    read_config(args.backbone / CONFIG_FILE)  # one sentence for a broken backbone; its weights are not needed
    tokenizer = load_tokenizer(args.backbone)
    tokens, cut, twice = tokenizer(anchors.captions).numpy(), count_cut(tokenizer, anchors.captions), repeats(anchors)
    if rotations.paths:
        print(f"EXIF rotation of {len(rotations.paths)} images is ignored, as open_clip does: {rotations.paths[0]} ...")
    if cut:
        print(f"{cut} of {len(anchors.captions)} captions are longer than {tokenizer.context_length} tokens: cut there")
    for what, pairs in twice.items():
        if pairs:
            print(f"{len(pairs)} {what} were drawn before, such as that of {' as that of '.join(pairs[0])}")
    save_tensors(args.out / "anchors.safetensors", {"images": anchors.images, "tokens": tokens})
    rows = [{"file": f, "caption": c} for f, c in zip(anchors.files, anchors.captions, strict=True)]
    write_csv(args.out / "anchors.csv", rows, ["file", "caption"])
    facts = {"cut_captions": cut, "rotated": len(rotations.paths)} | {
        f"repeated_{what}": len(pairs) for what, pairs in twice.items()
    }
    read = {"backbone": args.backbone / CONFIG_FILE}
    save_meta(args.out, clock.meta("draw_anchors", settings, read, args.code, **facts))


if __name__ == "__main__":
    run(main, parse_args)
