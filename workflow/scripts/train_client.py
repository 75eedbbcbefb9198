"""Train one LoRA adapter on the images that one trainee holds; resumes after a kill."""

import argparse
from functools import partial
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    task = Task("train_client", args)
    device = task.device
    from sap.clip.backbone import WEIGHTS_FILE, load_backbone
    from sap.clip.lora import ADAPTER_FILES, save_adapter
    from sap.clip.prompts import prompt_tokens
    from sap.config import parse
    from sap.io import canonical, digest, digest_file, load_tensors, read_meta, write_jsonl
    from sap.provenance import save_meta, save_upload
    from sap.stages.train_client.plan import TrainPlan
    from sap.train.client import train_client
    from sap.train.examples import open_examples
    from sap.train.options import TrainOptions
    from sap.train.resume import ResumeFile

    plan = task.plan(TrainPlan)
    options, held = parse(TrainOptions, plan.train, "train"), open_examples(plan)
    inputs = {
        "backbone": Path(plan.backbone) / WEIGHTS_FILE,
        "classes": Path(plan.classes) / "text_features.safetensors",
    }
    # The stores' own digests: reading 26 GB of DomainNet again for each training would take longer than a small one.
    stores = {Path(folder).name: read_meta(folder)["files"] for folder in plan.domains}
    digests = {f"{name} {file}": files[file] for name, files in stores.items() for file in ("images.npy", "index.csv")}
    settings = {name: getattr(plan, name) for name in ("train", "parts", "partition", "corruption")}
    identity = [settings, args.code, plan.trainee, plan.seed, device, digests, *map(digest_file, inputs.values())]
    resume = ResumeFile(f"{task.out}.resume", digest(canonical(identity), 64))
    backbone = load_backbone(plan.backbone, device)
    features = load_tensors(inputs["classes"])["features"].to(device)
    prompts = None
    if options.lora.towers == "both":
        texts = read_meta(plan.classes)["settings"]
        prompts = prompt_tokens(backbone, texts["classes"], texts["prompts"])
    log = partial(write_jsonl, task.out / "train.jsonl")
    data = (held.train, held.val)
    trained = train_client(backbone, features, *data, options, plan.trainee, plan.seed, resume, log, prompts)
    log(trained.history)
    upload_bytes = save_adapter(trained.adapted, task.upload)
    facts = {"trainee": plan.trainee, "seed": plan.seed, "sample_count": len(held.train)}
    save_upload(task.upload, "train_client", facts, ADAPTER_FILES)
    facts |= {"upload_bytes": upload_bytes} | trained.summary() | held.private_facts()
    meta = task.meta(settings, inputs, **facts)
    save_meta(task.out, meta | {"inputs": meta["inputs"] | digests})
    resume.remove()


if __name__ == "__main__":
    run(main, parse_args)
