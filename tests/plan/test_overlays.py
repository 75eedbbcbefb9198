"""A config is read as Snakemake reads it: mappings merge, everything else replaces."""

import copy

import pytest
import yaml
from snakemake.utils import update_config

from sap.errors import SapError
from sap.plan.overlays import read_config

BASE = {"seeds": [0, 1], "data": {"split": {"val": 0.1, "test": 0.3}, "root": None}, "train": {"epochs": 3}}
OVERLAYS = [
    {"seeds": [7]},
    {"data": {"split": {"val": 0.2}, "root": {"nested": 1}}},
    {"data": {"root": {"other": 2}}, "train": None, "points": [{"merge": "ties"}]},
    {"train": {"epochs": 5}},
]


@pytest.mark.parametrize("count", range(len(OVERLAYS) + 1))
def test_overlays_are_merged_as_by_snakemake(tmp_path, count):
    paths = []
    for number, content in enumerate([BASE, *OVERLAYS[:count]]):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(yaml.safe_dump(content), encoding="utf-8")
    expected = copy.deepcopy(BASE)
    for overlay in OVERLAYS[:count]:
        update_config(expected, copy.deepcopy(overlay))
    assert read_config(paths[1:], paths[0]) == expected


@pytest.mark.parametrize("text", [None, "- a list", "a: [1"])
def test_what_is_no_config_is_named(tmp_path, text):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(SapError, match=str(path)):
        read_config([], path)
