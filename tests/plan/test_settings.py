"""A wrong config is one sentence with the key's path, what is allowed and what was given."""

import re

import pytest

from sap.errors import SapError
from sap.plan.settings import load_settings
from sap.plan.study import build_study


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "train.learning_rate",
            "1e-3",
            "train.learning_rate must be a number, got '1e-3' (str). YAML reads 1e-3 as a text",
        ),
        ("train.learning_rate", -0.1, "train.learning_rate must be above 0, got -0.1"),
        ("train.learning_rat", 0.1, "train: unknown key 'learning_rat'. Did you mean 'learning_rate'?"),
        ("train.epochs", 2.5, "train.epochs must be an integer, got 2.5"),
        ("train.lora.rank", 0, "train.lora.rank must be at least 1, got 0"),
        ("train.lora.targets", ["attn"], "train.lora.targets[0]: unknown value 'attn'"),
        ("seeds", [], "seeds must hold at least 1 item(s), got 0"),
        ("seeds", [0, 0], "seeds must differ"),
        ("sedes", [0], "the config: unknown key 'sedes'. Did you mean 'seeds'?"),
        ("data.domains", ["photo", "sketh"], "data.domains: unknown domain 'sketh'. Did you mean 'sketch'?"),
        ("data.domains", ["photo"], "data.domains must name at least 2"),
        ("data.source", "folder", "data.root"),
        ("evaluate.targets", ["art"], "evaluate.targets: unknown domain 'art'"),
        ("corruption.clients", ["phot"], "corruption.clients: unknown client 'phot'. Did you mean 'photo'?"),
        (
            "anchors",
            {"source": "folder", "root": "no", "sizes": [8, 16, 32]},
            "anchors.root: no/captions.csv is no file",
        ),
        (
            "anchors",
            {"source": "coco", "root": "no", "captions": "no.json", "sizes": [8, 16, 32]},
            "anchors.captions: no.json is no file",
        ),
        ("corruption.target_class", "ten", "corruption.target_class: unknown class 'ten'"),
        ("backbone.kind", "checkpoint", "backbone.checkpoint must be set"),
        ("backbone", {"kind": "checkpoint", "checkpoint": "nowhere"}, "backbone.checkpoint: nowhere does not exist"),
        (
            "backbone",
            {"kind": "checkpoint", "checkpoint": "config.yaml"},
            "backbone.model or backbone.model_config must",
        ),
        (
            "backbone",
            {"kind": "pretrained", "model": "ViT-B32", "pretrained": "openai"},
            "unknown open_clip model 'ViT-B32'. Did you mean 'ViT-B-32'?",
        ),
        ("points.0.merge", ["tiess"], "points[0].merge: unknown merge method 'tiess'. Did you mean 'ties'?"),
        ("points.0.merge", [{"method": "ties", "densty": 1}], "points[0].merge (ties): unknown key 'densty'"),
        ("points.0.merge", [{"method": "ties", "density": 20}], "points[0].merge (ties).density must be at most 1"),
        ("points.1.criterion", "tailor", "points[1].criterion: unknown criterion 'tailor'"),
        ("points.1.prune_ratio", [0.5, 1.5], "points[1].prune_ratio[1] must be at most 1, got 1.5"),
        ("points.1.anchor_size", 17, "points[1].anchor_size must be one of anchors.sizes [8, 16, 32], got 17"),
        ("points.3.reduction", "mean_of_absolute", "points[3]: taylor_signed needs the gradient's sign"),
        ("points.1.merge", "product_of_means", "points[1]: product_of_means merges factors"),
        ("points.1.unit", "component", "points[1]: unit component drops rank-1 components, which only factors have"),
        ("points.1.unit", "layer", "points[1]: unit layer drops whole layers of the model. Set scope: model."),
        ("points.1.rescale", "robustmerge", "points[1]: rescale robustmerge lifts rank-1 components"),
        ("points.2.criterion", "wanda", "points[2]: wanda is measured on the dense update. Set space: delta."),
        ("points.1.prune_top", 0.6, "points[1].prune_top is a part of prune_ratio, so it must be at most 0.5, got 0.6"),
        ("points.1.prune_ratio", [0.5, 0.7], "points[1].label must name one point, but the block makes 2"),
        ("points.0.views", "mian", "points[0].views[0]: unknown value 'mian'"),
        ("points", "mean", "points must be a list"),
        ("points", ["mean"], "points[0] must be a mapping"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(changed, key, value, sentence):
    with pytest.raises(SapError, match=re.escape(sentence)):
        _ = build_study(changed(key, value)).points


def test_missing_keys_take_their_defaults(config):
    minimal = {"points": [{"merge": "mean"}]}
    full = load_settings(minimal)
    assert full["train"]["lora"]["rank"] == 8
    assert full["data"]["domains"] == ["handwritten", "photo", "printed", "sketch"]
    assert full["points"][0]["merge"] == [{"method": "mean"}]


def test_a_folder_without_domains_and_a_missing_folder_are_told_apart(changed, tmp_path):
    config = changed("data.source", "folder")
    config["backbone"] |= {"kind": "pretrained", "model": "ViT-B-32", "pretrained": "openai"}
    config["data"]["root"] = str(tmp_path / "nowhere")
    with pytest.raises(SapError, match="is no readable folder"):
        load_settings(config)
    config["data"]["root"] = str(tmp_path)
    with pytest.raises(SapError, match="holds no folders"):
        load_settings(config)
