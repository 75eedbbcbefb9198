"""What a key means where nobody names it is one thing: in the schema, the library, the merge tool and config.yaml."""

import argparse
import dataclasses
import importlib.util
import inspect
import sys
from pathlib import Path

import pytest
import torch
import yaml

from sap.compose import Composer, merge_point
from sap.merge._api import METHODS
from sap.mergetool import Request
from sap.plan.choices import read_point
from sap.plan.schema import schema
from sap.prune.mask import Rule
from sap.saliency.anchors import AnchorLoss
from sap.setting import DEFAULTS, FIELDS, SWEPT
from sap.update import Factors, Update

ROOT = Path(__file__).parents[2]
BY_THE_PLAN = {"attack", "attackers", "attacker_weight", "recipe"}  # read by the plan alone
DIGITS = {"backbone.prompts"}  # config.yaml is the digits experiment, and these are words about digits


def updates() -> dict[str, Update]:
    rng = torch.Generator().manual_seed(0)
    return {
        client: Update({"a": Factors(torch.randn(2, 8, generator=rng), torch.randn(6, 2, generator=rng))})
        for client in ("art", "photo")
    }


def test_every_field_is_swept_and_has_the_default_of_the_schema():
    declared = schema()["$defs"]["block"]["properties"]
    assert sorted(SWEPT) == sorted(FIELDS)
    assert set(DEFAULTS) == set(SWEPT) - BY_THE_PLAN
    for name, field in FIELDS.items():
        assert declared[name]["default"] == [field.default], name


def test_masks_and_the_judge_take_the_same_defaults():
    rule = {field.name: field.default for field in dataclasses.fields(Rule) if field.name != "prune_ratio"}
    assert rule == {name: DEFAULTS[name] for name in rule}
    assert inspect.signature(AnchorLoss).parameters["alignment"].default == DEFAULTS["alignment"]


def test_the_merge_tools_flags_have_the_defaults_of_the_library(monkeypatch):
    spec = importlib.util.spec_from_file_location("script_merge", ROOT / "workflow/scripts/merge.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(sys, "argv", ["merge.py", "a", "b", "--out", "out"])
    args: argparse.Namespace = script.parse_args()
    request = {item.name: item.default for item in dataclasses.fields(Request) if item.name != "out"}
    assert {name: getattr(args, name) for name in request} == request
    assert args.method == DEFAULTS["merge"]["method"]
    assert read_point(args.method, [], {}) == {"merge": {"method": "mean"}, "scale": 1.0}


def test_a_criterion_without_a_ratio_prunes_the_same_everywhere():
    """Half: the library used to prune nothing."""
    whole, half = (Composer(updates()).merge({"criterion": "magnitude", "prune_ratio": ratio}) for ratio in (0.0, 0.5))
    from_flags = read_point("mean", [], {"criterion": "magnitude"})
    assert from_flags["prune_ratio"] == 0.5
    for point in ({"criterion": "magnitude"}, {"criterion": "magnitude", "merge": {"method": "mean"}}, from_flags):
        for found in (Composer(updates()).merge(point), merge_point(point, updates())):
            assert torch.equal(found.dense("a"), half.dense("a"))
    assert not torch.allclose(half.dense("a"), whole.dense("a"))
    masked = Composer(updates()).prune({"criterion": "magnitude"}, "art").dense("a")
    assert int((masked == 0).sum()) == 24  # of 48


def test_a_point_that_says_nothing_is_the_mean():
    found = Composer(updates()).merge({})
    want = sum(update.dense("a") for update in updates().values()) / 2
    torch.testing.assert_close(found.dense("a"), want)


def test_gradients_are_asked_for_at_the_default_number_of_anchors():
    asked = []

    def gradients(client, size):
        asked.append(size)
        return {"a": torch.ones(6, 8)}

    merge_point({"criterion": "taylor_absolute"}, updates(), gradients=gradients)
    assert set(asked) == {32}


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_options_in_the_schema_are_those_of_its_class(name):
    options = METHODS[name].options()
    for key, declared in schema()["$defs"]["merge"][name]["options"]["properties"].items():
        value = getattr(options, key)
        assert declared["default"] == (list(value) if isinstance(value, tuple) else value)


def flat(declared, prefix=""):
    """Dotted key -> default of every key of the schema but the points."""
    found = {}
    for name, entry in declared["properties"].items():
        if "properties" in entry:
            found |= flat(entry, f"{prefix}{name}.")
        elif name != "points":
            found[f"{prefix}{name}"] = entry["default"]
    return found


def test_config_yaml_has_every_key_at_the_default_of_the_schema():
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    differing = set()
    for key, default in flat(schema()).items():
        value = config
        for part in key.split("."):
            assert part in value, f"config.yaml says that it has every key, and lacks {key}"
            value = value[part]
        differing |= {key} if value != default else set()
    assert differing == DIGITS
