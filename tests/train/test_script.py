"""The script of the stage: what it writes, and what its meta.json says about where the adapter came from."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from sap.clip.backbone import load_backbone
from sap.data.digits import CLASSES
from sap.io import digest_file, read_meta, save_tensors
from sap.provenance import save_meta
from sap.update import check_update, load_adapter

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
TRAIN = {"epochs": 1, "batch_size": 16, "lora": {"rank": 2}}


def script(name, monkeypatch, settings, **flags):
    """Run a script as Snakemake does, in this process."""
    given = [text for flag, value in flags.items() for text in (f"--{flag}", str(value))]
    monkeypatch.setattr(sys, "argv", [name, "--settings", json.dumps(settings), "--code", "x", *given])
    loaded = runpy.run_path(str(SCRIPTS / f"{name}.py"))
    loaded["main"](loaded["parse_args"]())


@pytest.fixture
def train(tiny_clip_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    data = {"data": {"digits": {"per_class": 8}}, "input": {"size": 16}, "classes": CLASSES}
    script("prepare_domain", monkeypatch, data, domain="sketch", out=tmp_path / "sketch")
    backbone = load_backbone(tiny_clip_folder)
    features = backbone.text_features(backbone.tokenize(list(CLASSES)))
    save_tensors(tmp_path / "classes" / "text_features.safetensors", {"features": features})

    def run(**lora):
        parts = [{"domain": "sketch", "index": None}]
        options = TRAIN | {"lora": TRAIN["lora"] | lora}
        settings = {"train": options, "parts": parts, "partition": None, "corruption": None}
        folders = {"backbone": tiny_clip_folder, "classes": tmp_path / "classes", "domains": tmp_path / "sketch"}
        folders |= {"upload": tmp_path / "upload", "out": tmp_path / "record"}
        script("train_client", monkeypatch, settings, trainee="sketch", seed=0, **folders)
        return json.loads((tmp_path / "record" / "meta.json").read_text(encoding="utf-8"))

    return run


def test_meta_names_every_input_by_digest_without_reading_the_images_again(train, tmp_path):
    meta = train()
    inputs = {name: digest for name, digest in meta["inputs"].items() if name.startswith("sketch ")}
    assert inputs == {
        "sketch images.npy": digest_file(tmp_path / "sketch" / "images.npy"),
        "sketch index.csv": digest_file(tmp_path / "sketch" / "index.csv"),
    }
    assert set(meta["inputs"]) == {*inputs, "backbone", "classes"}
    assert meta["files"] == {"train.jsonl": digest_file(tmp_path / "record" / "train.jsonl")}
    assert not (tmp_path / "record.resume").exists()


def test_both_towers_train_on_the_prompts_that_the_class_features_were_made_of(train, tmp_path, tiny_clip_folder):
    save_meta(tmp_path / "classes", {"settings": {"classes": list(CLASSES), "prompts": ["{}", "a {}."]}})
    train(towers="both")
    shapes = {name: tuple(p.shape) for name, p in load_backbone(tiny_clip_folder).model.named_parameters()}
    update = load_adapter(tmp_path / "upload")
    check_update(update, shapes)
    texts = [layer for layer in update if layer.startswith("transformer.")]
    assert len(texts) == 4
    assert all(update.norms()[layer] > 0 for layer in texts)


def test_the_upload_is_the_adapter_its_sample_count_and_a_seal_and_the_rest_stays_with_the_client(train, tmp_path):
    upload, record = tmp_path / "upload", tmp_path / "record"
    kept = train()
    assert listed(upload) == ["adapter_config.json", "adapter_model.safetensors", "meta.json"]
    assert listed(record) == ["meta.json", "train.jsonl"]
    sent = read_meta(upload)
    assert sorted(sent) == ["digest", "files", "sample_count", "seed", "stage", "trainee"]
    assert (sent["stage"], sent["trainee"], sent["seed"]) == ("train_client", "sketch", 0)
    adapter = [upload / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    assert sent["files"] == {path.name: digest_file(path) for path in adapter}
    assert sent["sample_count"] == kept["sample_count"] == sum(kept["class_counts"]) > 0
    assert kept["upload_bytes"] == sum(path.stat().st_size for path in adapter)
    assert str(tmp_path) not in adapter[0].read_text(encoding="utf-8")
    assert {"class_counts", "val_accuracy", "start_accuracy", "device", "git_commit", "versions"} <= kept.keys()


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
