"""Compute the text features of the classes once: the frozen classifier of every client and every evaluation."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    task = Task("embed_classes", args)
    device = task.device
    from sap.clip.backbone import count_cut, load_backbone
    from sap.clip.checkpoint import WEIGHTS_FILE
    from sap.clip.prompts import class_features
    from sap.io import save_tensors
    from sap.stages.embed_classes.plan import ClassesPlan

    plan = task.plan(ClassesPlan)
    backbone = load_backbone(plan.backbone, device)
    features = class_features(backbone, plan.classes, plan.prompts)
    cut = count_cut(
        backbone.tokenizer, [prompt.replace("{}", name) for name in plan.classes for prompt in plan.prompts]
    )
    if cut:
        print(f"{cut} prompts are longer than {backbone.tokenizer.context_length} tokens: cut there")
    tensors = {"features": features, "logit_scale": backbone.logit_scale}
    save_tensors(task.out / "text_features.safetensors", tensors)
    task.finish({"classes": plan.classes, "prompts": plan.prompts}, {"backbone": Path(plan.backbone) / WEIGHTS_FILE})


if __name__ == "__main__":
    run(main, parse_args)
