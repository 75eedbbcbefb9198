"""The script of the stage: what it writes, and what its meta.json says about where the adapter came from."""

import pytest

from sap.clip.backbone import load_backbone
from sap.data.digits import CLASSES
from sap.io import digest_file, read_meta, save_tensors
from sap.provenance import save_meta
from sap.update import check_update, load_adapter
from tests.made_plans import SKETCH, whole_domain
from tests.scripts import run_script

TRAIN = {"epochs": 1, "batch_size": 16, "lora": {"rank": 2}}


@pytest.fixture
def train(tiny_clip_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    run_script("prepare_domain", SKETCH, tmp_path / "sketch")
    backbone = load_backbone(tiny_clip_folder)
    features = backbone.text_features(backbone.tokenize(list(CLASSES)))
    save_tensors(tmp_path / "classes" / "text_features.safetensors", {"features": features})

    def run(**lora):
        options = TRAIN | {"lora": TRAIN["lora"] | lora}
        folders = {"backbone": str(tiny_clip_folder), "classes": str(tmp_path / "classes")}
        plan = whole_domain(tmp_path / "sketch") | {"seed": 0, "train": options} | folders
        return read_meta(run_script("train_client", plan, tmp_path / "record"))

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
    update = load_adapter(tmp_path / "record" / "upload")
    check_update(update, shapes)
    texts = [layer for layer in update if layer.startswith("transformer.")]
    assert len(texts) == 4
    assert all(update.norms()[layer] > 0 for layer in texts)


def test_the_upload_is_the_adapter_its_sample_count_and_a_seal_and_the_rest_stays_with_the_client(train, tmp_path):
    upload, record = tmp_path / "record" / "upload", tmp_path / "record"
    kept = train()
    assert listed(upload) == ["adapter_config.json", "adapter_model.safetensors", "meta.json"]
    assert sorted(path.name for path in record.iterdir()) == ["meta.json", "train.jsonl", "upload"]
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
