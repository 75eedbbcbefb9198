"""What a message recommends is accepted: each piece of advice about backbones is followed here."""

import json
import re

import open_clip
import pytest
import torch

from sap.clip import sources
from sap.clip.checkpoint import build_model
from sap.clip.lora import _blocks
from sap.clip.options import BackboneOptions
from sap.clip.supported import why_not
from sap.errors import SapError
from sap.plan.backbones import files_of, input_of

MODELS = open_clip.list_models()
USABLE = [name for name in MODELS if not why_not(open_clip.get_model_config(name))]


class Accepted(Exception):
    """The download would begin."""


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    def begin(*_):
        raise Accepted

    monkeypatch.setattr(sources, "build_model", begin)  # the step before the download, slow for large models


def pretrained(model, tag):
    return BackboneOptions(kind="pretrained", model=model, pretrained=tag)


def planned(model=None, tag=None, **more):
    backbone = {"kind": "pretrained", "model": model, "pretrained": tag, "checkpoint": None, "model_config": None}
    return input_of({"backbone": backbone | {"interpolation": None, "resize_mode": None} | more})


@pytest.mark.parametrize("name", [name for name in MODELS if name not in USABLE])
def test_a_model_that_no_client_can_adapt_is_refused_by_name_when_planned_and_when_prepared(name):
    with pytest.raises(SapError, match=rf"backbone\.model {re.escape(name)}: .* such as ViT-B-32\."):
        planned(name, "openai")
    with pytest.raises(SapError, match=rf"backbone\.model {re.escape(name)}: .* such as ViT-B-32\."):
        sources.from_pretrained(pretrained(name, "openai"))


def test_a_resnet_is_told_of_a_vit_and_not_of_its_quick_gelu():
    with pytest.raises(SapError, match="its image side is a ResNet, and LoRA needs a visual transformer") as caught:
        sources.from_pretrained(pretrained("RN50", "openai"))
    assert "RN50-quickgelu" not in str(caught.value)


@pytest.mark.parametrize("name", ["ViT-S-32", "ViT-B-32-quickgelu", "coca_base"])
def test_what_counts_as_usable_builds_and_has_blocks_to_adapt(name):
    with torch.device("meta"):
        assert _blocks(build_model(open_clip.get_model_config(name), name).visual)
    assert planned(name, "x")["size"] in (224, 288)


@pytest.mark.parametrize("name", USABLE)
def test_each_tag_of_a_usable_model_is_accepted_or_its_advice_is(name):
    for tag in open_clip.list_pretrained_tags_by_model(name):
        try:
            sources.from_pretrained(pretrained(name, tag))
        except Accepted:
            continue
        except SapError as error:
            other = re.search(r"Set backbone\.model to (\S+)\.$", str(error))[1]
        with pytest.raises(Accepted):
            sources.from_pretrained(pretrained(other, tag))


def test_the_tags_that_are_named_for_a_wrong_one_are_accepted():
    with pytest.raises(SapError) as caught:
        sources.from_pretrained(pretrained("ViT-B-32", "openia"))
    own, others = re.search(r"Known: (.*)\. ViT-B-32-quickgelu has (.*)\.$", str(caught.value)).groups()
    assert "openai" in others
    for model, tags in (("ViT-B-32", own), ("ViT-B-32-quickgelu", others)):
        for tag in tags.split(", "):
            with pytest.raises(Accepted):
                sources.from_pretrained(pretrained(model, tag))


@pytest.mark.parametrize("wrong", ["RN51", "ViT-B-32-SigLIP9", "convnext_bas", "ViT-B32"])
def test_names_that_are_suggested_for_a_wrong_one_are_usable(wrong):
    for refuse in (lambda: planned(wrong, "openai"), lambda: sources.from_pretrained(pretrained(wrong, "openai"))):
        with pytest.raises(SapError, match="unknown open_clip model") as caught:
            refuse()
        named = re.findall(r"'([^']+)'\?|Known: (.*?)(?: and \d+ others)?\.$", str(caught.value))
        assert {name for pair in named for part in pair if part for name in part.split(", ")} <= set(USABLE)


@pytest.mark.parametrize(
    ("model", "tag", "words"),
    [
        (
            "ViT-B-32",
            "/data/b32.pt",
            r"pretrained: /data/b32\.pt is a place, not a tag .*backbone\.kind: checkpoint and "
            r"backbone\.checkpoint: /data/b32\.pt, with backbone\.model: ViT-B-32\.",
        ),
        ("ViT-B-32", "b32.safetensors", r"checkpoint: b32\.safetensors, with backbone\.model: ViT-B-32"),
        ("hf-hub:laion/CLIP", None, r"model: hf-hub:laion/CLIP names a repository .*kind: checkpoint"),
        ("ViT-B-32", "hf-hub:laion/CLIP-ViT-B-32", r"pretrained: hf-hub:laion/CLIP-ViT-B-32 names a repository"),
        ("local-dir:/data/clip", "x", r"kind: checkpoint and backbone\.checkpoint: /data/clip\."),
        ("laion/CLIP-ViT-B-32", "x", r"model: laion/CLIP-ViT-B-32 is a place"),
    ],
)
def test_a_place_where_a_name_belongs_is_told_of_kind_checkpoint(model, tag, words):
    with pytest.raises(SapError, match=rf"backbone\.{words}" if words.startswith(("model", "pre")) else words):
        planned(model, tag)
    with pytest.raises(SapError, match=words):
        sources.from_pretrained(pretrained(model, tag))


def test_the_advice_for_a_file_is_followed(tiny_clip_folder, tmp_path):
    file = tmp_path / "b32.pt"
    file.write_bytes(b"PK\3\4")
    backbone = {"kind": "checkpoint", "checkpoint": str(file), "model": "ViT-B-32"}
    assert planned(**backbone)["size"] == 224
    assert files_of(backbone | {"model_config": None}) == [str(file)]
    folder = {"kind": "checkpoint", "checkpoint": str(tiny_clip_folder), "model": None, "model_config": None}
    assert planned(**folder)["size"] == 16
    assert len(files_of(folder)) == 2


def test_a_repository_as_checkpoint_is_told_to_be_downloaded():
    with pytest.raises(SapError, match=r"backbone\.checkpoint: hf-hub:laion/x names a repository .*Download"):
        files_of({"kind": "checkpoint", "checkpoint": "hf-hub:laion/x", "model": None, "model_config": None})


@pytest.mark.parametrize("config", [[1], {"model_cfg": [1]}, {"vision_cfg": 7}, {"vision_cfg": {"layers": [1]}}, {}])
def test_a_model_config_of_wrong_types_is_one_sentence_when_planned(config, tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(SapError, match=r"m\.json"):
        planned(kind="checkpoint", checkpoint="w.pt", model_config=str(tmp_path / "m.json"))
