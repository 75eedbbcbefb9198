"""Gradients of the anchors' image-text alignment at one client's weights, for nested anchor sets."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    task = Task("score_client", args)
    device = task.device
    from sap.clip.backbone import load_backbone
    from sap.clip.checkpoint import WEIGHTS_FILE
    from sap.io import load_tensors, save_tensors
    from sap.saliency.gradients import alignment_gradients
    from sap.stages.score_client.plan import ScorePlan
    from sap.update import check_update, load_adapter

    plan = task.plan(ScorePlan)
    backbone, update = load_backbone(plan.backbone, device), load_adapter(plan.adapter)
    shapes = {name: tuple(weight.shape) for name, weight in backbone.model.named_parameters()}
    check_update(update, shapes, plan.adapter)
    anchors = load_tensors(Path(plan.anchors) / "anchors.safetensors")
    pixels = backbone.normalise(anchors["images"])
    asked = (plan.alignment, plan.reduction, plan.sizes)
    gradients, losses = alignment_gradients(
        backbone, update.to(device), pixels, anchors["tokens"], *asked, where=plan.adapter
    )
    notes = {"alignment": plan.alignment, "reduction": plan.reduction}
    save_tensors(task.out / "gradients.safetensors", gradients, notes)
    inputs = {
        "adapter": Path(plan.adapter) / "adapter_model.safetensors",
        "anchors": Path(plan.anchors) / "anchors.safetensors",
        "backbone": Path(plan.backbone) / WEIGHTS_FILE,
    }
    task.finish(notes | {"sizes": plan.sizes}, inputs, client=plan.client, seed=plan.seed, loss=losses)


if __name__ == "__main__":
    run(main, parse_args)
