"""Model configs come from others: what the plan reads of them is checked before it is used."""

import json
import os

import pytest

from sap.errors import SapError
from sap.plan.backbones import input_of


def settings(path):
    backbone = {"kind": "checkpoint", "checkpoint": "weights.pt", "model": None, "model_config": str(path)}
    return {"backbone": backbone | {"interpolation": None, "resize_mode": None}}


def test_the_size_of_a_config_is_the_size_of_the_images(tmp_path):
    path = tmp_path / "model.json"
    for size in (32, [32, 32]):
        path.write_text(json.dumps({"vision_cfg": {"image_size": size}}), encoding="utf-8")
        assert input_of(settings(path))["size"] == 32


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 200_000, "is no readable JSON file"),
        ("{", "is no readable JSON file"),
        ('{"vision_cfg": {"image_size": NaN}}', "NaN is not a JSON number"),
        ('{"a": "' + "x" * 2**20 + '"}', "a file of this kind at most 1048576"),
        ("[]", "must hold a JSON object"),
        ("{}", r"vision_cfg.image_size \(a whole number, or two\), got None"),
        ('{"model_cfg": []}', "vision_cfg.image_size .* got None"),
        ('{"vision_cfg": "image_size"}', "vision_cfg.image_size .* got None"),
        ('{"vision_cfg": {"image_size": "32"}}', "vision_cfg.image_size .* got '32'"),
        ('{"vision_cfg": {"image_size": []}}', r"vision_cfg.image_size .* got \[\]"),
        ('{"vision_cfg": {"image_size": [[32], [32]]}}', "vision_cfg.image_size .* got "),
        (
            '{"vision_cfg": {"image_size": 32}, "preprocess_cfg": [1]}',
            r"preprocess_cfg must be a JSON object, got \[1\]",
        ),
    ],
    ids=lambda value: value[:40],
)
def test_an_odd_model_config_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "model.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SapError, match=rf"model\.json.*{words}"):
        input_of(settings(path))


def test_a_pipe_and_a_missing_file_are_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for name, words in (
        ("pipe.json", "is not a regular file"),
        ("missing.json", "does not exist. Name a file that does"),
    ):
        with pytest.raises(SapError, match=rf"backbone\.model_config: .*{name} {words}"):
            input_of(settings(tmp_path / name))
