"""A config is read as Snakemake reads it: mappings merge, everything else replaces."""

import copy

import pytest
import yaml
from snakemake.cli import parse_config
from snakemake.settings.types import ConfigSettings
from snakemake.utils import update_config

from sap.errors import SapError
from sap.pipeline import build_study
from sap.plan.overlays import read_config, with_values

BASE = {"seeds": [0, 1], "data": {"split": {"val": 0.1, "test": 0.3}, "root": None}, "train": {"epochs": 3}}
OVERLAYS = [
    {"seeds": [7]},
    {"data": {"split": {"val": 0.2}, "root": {"nested": 1}}},
    {"data": {"root": {"other": 2}}, "train": None, "points": [{"merge": "ties"}]},
    {"train": {"epochs": 5}},
]


GROUPS = [{"points": [{"merge": "sum"}]}, {"points": {"mine": [{"merge": "ties"}]}}]  # the list is gone before the base


@pytest.mark.parametrize("overlays", [*(OVERLAYS[:count] for count in range(len(OVERLAYS) + 1)), GROUPS])
def test_overlays_are_merged_as_by_snakemake(tmp_path, overlays):
    paths = []
    base = BASE | {"points": {"averages": [{"merge": "mean"}]}}
    for number, content in enumerate([base, *overlays]):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(yaml.safe_dump(content), encoding="utf-8")
    expected = copy.deepcopy(base)
    update_config(expected, ConfigSettings(configfiles=paths[1:])._get_overwrite_config())
    assert read_config(paths[1:], paths[0]) == expected


def labels(config) -> list[str]:
    return [point.label for point in build_study(config).points if point.views != ("control",)]


def test_an_overlay_adds_replaces_and_drops_groups_of_points(config):
    groups = {"averages": [{"merge": ["mean", "sum"]}], "sweep": [{"merge": "mean", "scale": [0.5, 2.0]}]}
    overlay = {"averages": [{"merge": "ties"}], "sweep": None, "mine": [{"merge": "median"}]}
    found = copy.deepcopy(config | {"points": groups})
    assert labels(found) == ["mean", "sum", "mean, λ=0.5", "mean, λ=2"]
    update_config(found, {"points": overlay})
    assert labels(found) == ["ties", "median"]
    update_config(found, {"points": [{"merge": "wudi"}]})  # a list takes the place of all groups
    assert labels(found) == ["wudi"]
    update_config(found, {"points": {"mine": [{"merge": "core"}]}})
    assert labels(found) == ["core"]


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ({"mine": [{"merge": "mean"}, {"merge": "tiess"}]}, r"points\.mine\[1\]\.merge: unknown merge method 'tiess'"),
        ({"mine": [{"merge": "mean", "scale": -1}]}, r"points\.mine\[0\]\.scale\[0\] must be at least 0, got -1"),
        ({"mine": {"merge": "mean"}}, r"points\.mine must be a list of blocks, or null to drop the group, got {"),
        ({"mine": [{"label": "one", "scale": [1, 2]}]}, r"points\.mine\[0\]\.label must name one point"),
        ({"mine": [{"anchor_size": 17, "merge": "fltrust"}]}, r"points\.mine\[0\]\.anchor_size must be one of"),
        ({"mine": None}, "points must hold at least one block"),
    ],
)
def test_an_error_names_the_group_and_the_number_of_the_block(config, points, sentence):
    with pytest.raises(SapError, match=sentence):
        labels(config | {"points": points})


@pytest.mark.parametrize("text", [None, "- a list", "a: [1"])
def test_what_is_no_config_is_named(tmp_path, text):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(SapError, match=str(path)):
        read_config([], path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("seeds=[0]", {"seeds": [0]}),
        ("seeds=", {"seeds": None}),
        ("train={epochs: 3}", {"train": {"epochs": 3, "batch_size": 64}}),
        ('train={"epochs":3}', {"train": {"epochs": 3, "batch_size": 64}}),
        ("data={domains: [photo, sketch], root: null}", {"data": {"domains": ["photo", "sketch"], "root": None}}),
        ("data={split: {val: 0.2}}", {"data": {"split": {"val": 0.2}}}),
        ("evidence={headroom: false}", {"evidence": {"headroom": False}}),
        ("points=[{merge: mean, scale: [0.5, 1]}]", {"points": [{"merge": "mean", "scale": [0.5, 1]}]}),
        ("experiment=mine", {"experiment": "mine"}),
        ("train={learning_rate: 1e-3}", {"train": {"learning_rate": "1e-3", "batch_size": 64}}),  # a text in YAML files
    ],
)
def test_a_value_of_the_command_line_is_what_it_is_in_a_file(given, expected):
    """On top of what Snakemake itself made of it, which has texts for numbers."""
    config = {"train": {"batch_size": 64}}
    update_config(config, parse_config([given]))
    found = with_values(config, [given])
    assert {key: found[key] for key in expected} == expected


def test_the_last_of_several_values_counts_and_files_below_stay(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(BASE), encoding="utf-8")
    found = read_config([], path, ["seeds=[3]", "data={split: {val: 0.2}}", "seeds=[4]"])
    assert found == BASE | {"seeds": [4], "data": {"split": {"val": 0.2, "test": 0.3}, "root": None}}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("seeds=[zero]", r"seeds\[0\] must be an integer, got 'zero'"),
        ("seeds=0", r"seeds must be a list, got 0"),
        ("train={epochs:3}", r"train: unknown key 'epochs:3'. Did you mean 'epochs'"),
        ("seeds=[0", r"--config seeds=\[0: what follows the = is no YAML"),
    ],
)
def test_a_wrong_value_of_the_command_line_is_a_sentence(config, given, sentence):
    with pytest.raises(SapError, match=sentence):
        build_study(with_values(config, [given]))
