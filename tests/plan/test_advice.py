"""The merge tool recommends only what it can run itself."""

import re

import pytest

from sap.errors import SapError
from sap.plan.choices import MET, read_point
from sap.plan.schema import schema
from sap.plan.settings import load_settings


@pytest.mark.parametrize("wrong", ["regmeam", "fishr", "adamergin", "tiez", "x"])
def test_methods_that_are_suggested_run_on_adapters_alone(wrong):
    with pytest.raises(SapError, match="unknown merge method") as caught:
        read_point(wrong, [], {})
    methods = schema()["$defs"]["merge"]
    named = set(re.findall(r"[a-z_]+", str(caught.value).partition("Known: ")[2])) & set(methods)
    named |= set(re.findall(r"Did you mean '(\w+)'", str(caught.value)))
    assert named
    assert all(set(methods[name]["needs"]) <= MET for name in named)


@pytest.mark.parametrize("wrong", ["taylor", "magnitud", "wandaa"])
def test_criteria_that_are_suggested_run_on_adapters_alone(wrong):
    with pytest.raises(SapError, match=r"Known: none, (.*)\.$") as caught:
        read_point("mean", [], {"criterion": wrong})
    for name in re.search(r"Known: none, (.*)\.$", str(caught.value))[1].split(", "):
        read_point("mean", [], {"criterion": name})


def test_samples_are_a_choice_wherever_the_merge_tool_says_to_set_them():
    for name, method in schema()["$defs"]["merge"].items():
        weights = method["options"]["properties"].get("weights")
        if weights and "uniform" in weights["enum"]:
            assert "samples" in weights["enum"], name


def test_a_repository_without_a_tag_is_told_of_kind_checkpoint_and_not_to_name_a_tag(config):
    config["backbone"] |= {"kind": "pretrained", "model": "hf-hub:laion/CLIP-ViT-B-32", "pretrained": None}
    with pytest.raises(SapError, match=r"names a repository of the Hugging Face hub.*kind: checkpoint"):
        load_settings(config)
