"""Grams, Fisher information, sums of features or the accuracy curve of one client, on its own images or on anchors."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    task = Task("measure", args)
    device = task.device
    from sap.clip.backbone import WEIGHTS_FILE, load_backbone
    from sap.failures import sentence_of, write_failures
    from sap.io import save_tensors, seed_of
    from sap.measure.curve import CURVE, accuracy_curve
    from sap.measure.features import KINDS, feature_sums
    from sap.measure.inputs import anchor_inputs, client_inputs, held_inputs
    from sap.measure.statistics import client_statistics
    from sap.provenance import save_upload
    from sap.stages.measure.plan import MeasurePlan
    from sap.update import check_update, load_adapter

    plan = task.plan(MeasurePlan)
    backbone = load_backbone(plan.backbone, device)
    if plan.share:
        inputs_of = held_inputs if plan.kind == CURVE else client_inputs
        measured, labels = inputs_of(backbone, plan.share, plan.classes, plan.seed, plan.images)
    else:
        measured, labels = anchor_inputs(backbone, plan.anchors, plan.images), None
    update = load_adapter(plan.adapter).to(device)
    shapes = {name: tuple(weight.shape) for name, weight in backbone.model.named_parameters()}
    check_update(update, shapes, plan.adapter)
    drawn = seed_of("measure", plan.client, plan.seed)
    facts, notes = {"client": plan.client, "seed": plan.seed}, {"kind": plan.kind, "source": plan.source}
    failed = []
    try:
        pixels, texts, _ = measured
        if plan.kind == CURVE:
            statistics = accuracy_curve(backbone, update, plan.adapter, drawn, pixels, labels, texts)
        elif plan.kind in KINDS:
            statistics = feature_sums(backbone, update, pixels, labels, texts, plan.kind)
        else:
            statistics = client_statistics(
                backbone, update, *measured, kinds=(plan.kind,), seed=drawn, where=plan.adapter
            )
    except Exception as error:  # the points that read none of it go on
        statistics, notes = {}, notes | {"failed": sentence_of(error)}
        failed.append({"stage": "measure", **facts, "error": notes["failed"]})
    save_tensors(task.upload / "statistics.safetensors", statistics, notes)
    write_failures(task.out, failed)
    save_upload(task.upload, "measure", facts, ["statistics.safetensors"])
    inputs = {
        "adapter": Path(plan.adapter) / "adapter_model.safetensors",
        "backbone": Path(plan.backbone) / WEIGHTS_FILE,
    }
    settings = {"kind": plan.kind, "source": plan.source, "images": plan.images}
    task.finish(settings, inputs, **facts)


if __name__ == "__main__":
    run(main, parse_args)
