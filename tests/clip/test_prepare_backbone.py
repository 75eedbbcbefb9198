"""The script of the stage: where each kind of backbone comes from."""

import pytest
import torch

from sap.clip import sources
from sap.clip.backbone import load_backbone
from tests.scripts import run_script

SCRATCH = {"width": 16, "layers": 1, "head_width": 16, "embed_dim": 8, "steps": 1, "batch_size": 8, "warmup": 0}


@pytest.fixture
def prepare(monkeypatch, tmp_path):
    monkeypatch.setenv("SAP_DEVICE", "cpu")

    def run(**backbone):
        corpus = {"source": "digits", "digits": {"corpus": 100, "size": 16, "seed": 0}}
        corpus = corpus if backbone["kind"] == "scratch" else None
        plan = {"backbone": backbone, "corpus": corpus, "files": [], "stamp": ""}
        run_script("prepare_backbone", plan, tmp_path / "out")
        return load_backbone(tmp_path / "out").model.state_dict()

    return run


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_a_scratch_backbone_is_pretrained_and_says_how(prepare, tmp_path):
    model = prepare(kind="scratch", scratch=SCRATCH)
    assert model["visual.proj"].shape == (16, 8)
    assert (tmp_path / "out" / "pretrain.jsonl").exists()


def test_a_checkpoint_and_a_download_are_what_was_named_and_nothing_is_pretrained(
    prepare, tmp_path, tiny_clip_folder, monkeypatch
):
    named = load_backbone(tiny_clip_folder).model.state_dict()
    assert same(prepare(kind="checkpoint", checkpoint=str(tiny_clip_folder)), named)
    asked = []

    def download(options):
        asked.append((options.model, options.pretrained))
        return from_checkpoint(sources.BackboneOptions(kind="checkpoint", checkpoint=str(tiny_clip_folder)))

    from_checkpoint = sources.from_checkpoint
    monkeypatch.setattr(sources, "from_pretrained", download)
    assert same(prepare(kind="pretrained", model="ViT-B-32", pretrained="openai"), named)
    assert asked == [("ViT-B-32", "openai")]
    assert not (tmp_path / "out" / "pretrain.jsonl").exists()
