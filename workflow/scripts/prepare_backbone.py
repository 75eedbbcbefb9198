"""Bring the backbone into open_clip's own local format: download it, convert a checkpoint, or pretrain a tiny one."""

import argparse

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    parser = job_parser(__doc__)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; part of what makes weights repeatable")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    task = Task("prepare_backbone", args)
    device = task.device
    import torch

    from sap.clip import scratch, sources
    from sap.clip.checkpoint import save_checkpoint
    from sap.clip.options import BackboneOptions
    from sap.config import parse
    from sap.data.corpus import make_corpus, size_of
    from sap.io import write_jsonl
    from sap.stages.prepare_backbone.plan import BackbonePlan

    plan = task.plan(BackbonePlan)
    torch.set_num_threads(args.threads)
    options = parse(BackboneOptions, plan.backbone, "backbone")
    if plan.corpus is not None:
        model_cfg = scratch.scratch_config(options.scratch, size_of(plan.corpus))
        preprocess = scratch.scratch_preprocess(size_of(plan.corpus))
        sources.check_preprocess(options, preprocess)  # before minutes of pretraining
        model, log = scratch.pretrain(*make_corpus(plan.corpus), options.scratch, device)
        write_jsonl(task.out / "pretrain.jsonl", log)
    else:
        load = sources.from_pretrained if options.kind == "pretrained" else sources.from_checkpoint
        model, model_cfg, preprocess = load(options)
        sources.check_preprocess(options, preprocess)
    save_checkpoint(task.out, model, model_cfg, preprocess)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    task.finish({"backbone": plan.backbone, "corpus": plan.corpus}, {}, parameters=parameters)


if __name__ == "__main__":
    run(main, parse_args)
