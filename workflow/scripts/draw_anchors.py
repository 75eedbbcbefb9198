"""Draw the server's public image-text pairs and tokenise their captions for one backbone."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: tokens are made on the CPU, a GPU would only wait
    from sap.clip.backbone import CONFIG_FILE, count_cut, load_tokenizer
    from sap.clip.checkpoint import read_config
    from sap.data.anchors import Words, draw_anchors, parse_anchors, repeats
    from sap.data.images import Geometry, Rotations
    from sap.io import save_tensors, write_csv
    from sap.stages.draw_anchors.plan import AnchorsPlan

    task = Task("draw_anchors", args)
    plan = task.plan(AnchorsPlan)
    rotations = Rotations()
    options, own = parse_anchors(plan.anchors, plan.data)
    words = None if plan.words is None else Words(**plan.words)
    anchors = draw_anchors(options, plan.draw, Geometry(**plan.input), own, rotations, words)
    config = Path(plan.backbone) / CONFIG_FILE
    read_config(config)  # one sentence for a broken backbone; its weights are not needed
    tokenizer = load_tokenizer(plan.backbone)
    tokens, cut, twice = tokenizer(anchors.captions).numpy(), count_cut(tokenizer, anchors.captions), repeats(anchors)
    if rotations.paths:
        print(f"EXIF rotation of {len(rotations.paths)} images is ignored, as open_clip does: {rotations.paths[0]} ...")
    if cut:
        print(f"{cut} of {len(anchors.captions)} captions are longer than {tokenizer.context_length} tokens: cut there")
    for what, pairs in twice.items():
        if pairs:
            print(f"{len(pairs)} {what} were drawn before, such as that of {' as that of '.join(pairs[0])}")
    save_tensors(task.out / "anchors.safetensors", {"images": anchors.images, "tokens": tokens})
    rows = [{"file": f, "caption": c} for f, c in zip(anchors.files, anchors.captions, strict=True)]
    write_csv(task.out / "anchors.csv", rows, ["file", "caption"])
    facts = {"cut_captions": cut, "rotated": len(rotations.paths)} | {
        f"repeated_{what}": len(pairs) for what, pairs in twice.items()
    }
    settings = {"anchors": plan.anchors, "draw": plan.draw, "input": plan.input, "data": plan.data}
    settings |= {} if plan.words is None else {"words": plan.words}
    task.finish(settings, {"backbone": config}, **facts)


if __name__ == "__main__":
    run(main, parse_args)
