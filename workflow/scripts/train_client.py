"""Train one LoRA adapter on the images that one trainee holds; resumes after a kill."""

import argparse
import json
from functools import partial
from pathlib import Path

from sap.cli import run
from sap.devices import claim_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainee", required=True, help="name of the client, or of a pooled or oracle training")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON: train, parts, partition, corruption")
    parser.add_argument("--backbone", type=Path, required=True, help="folder of prepare_backbone")
    parser.add_argument("--classes", type=Path, required=True, help="folder of embed_classes")
    parser.add_argument(
        "--domains", type=Path, nargs="+", required=True, help="folders of prepare_domain, one per part"
    )
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code")
    parser.add_argument("--upload", type=Path, required=True, help="folder to hand over: adapter, sample count, seal")
    parser.add_argument("--out", type=Path, required=True, help="folder that stays: train.jsonl and meta.json")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    device, _slot = claim_device()
    from sap.clip.backbone import WEIGHTS_FILE, load_backbone
    from sap.clip.lora import ADAPTER_FILES, save_adapter
    from sap.clip.prompts import prompt_tokens
    from sap.config import parse
    from sap.io import canonical, digest, digest_file, load_tensors, read_meta, write_jsonl
    from sap.provenance import Clock, save_meta, save_upload
    from sap.train.client import train_client
    from sap.train.examples import open_examples
    from sap.train.options import TrainOptions
    from sap.train.resume import ResumeFile

    clock = Clock()
    options = parse(TrainOptions, args.settings["train"], "train")
    held = open_examples(args.domains, args.settings, args.trainee)
    inputs = {"backbone": args.backbone / WEIGHTS_FILE, "classes": args.classes / "text_features.safetensors"}
    # The stores' own digests: reading 26 GB of DomainNet again for each training would take longer than a small one.
    stores = {folder.name: read_meta(folder)["files"] for folder in args.domains}
    digests = {f"{name} {file}": files[file] for name, files in stores.items() for file in ("images.npy", "index.csv")}
    identity = [args.settings, args.code, args.trainee, args.seed, device, digests, *map(digest_file, inputs.values())]
    resume = ResumeFile(f"{args.out}.resume", digest(canonical(identity), 64))
    backbone = load_backbone(args.backbone, device)
    features = load_tensors(inputs["classes"])["features"].to(device)
    prompts = None
    if options.lora.towers == "both":
        texts = read_meta(args.classes)["settings"]
        prompts = prompt_tokens(backbone, texts["classes"], texts["prompts"])
    log = partial(write_jsonl, args.out / "train.jsonl")
    data = (held.train, held.val)
    trained = train_client(backbone, features, *data, options, args.trainee, args.seed, resume, log, prompts)
    log(trained.history)
    upload_bytes = save_adapter(trained.adapted, args.upload)
    facts = {"trainee": args.trainee, "seed": args.seed, "sample_count": len(held.train)}
    save_upload(args.upload, "train_client", facts, ADAPTER_FILES)
    facts |= {"upload_bytes": upload_bytes} | trained.summary() | held.private_facts()
    meta = clock.meta("train_client", args.settings, inputs, args.code, device, **facts)
    meta["inputs"] |= digests
    save_meta(args.out, meta)
    resume.remove()


if __name__ == "__main__":
    run(main, parse_args)
