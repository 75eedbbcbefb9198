"""Keys whose whole effect is in the plan: who trains, who is judged, what a job and the report are told."""

import re
from pathlib import Path

import pytest

from sap.pipeline import build_study
from sap.plan.folds import shard_plan
from sap.plan.reporting import report_plan

RULES = Path(__file__).parents[2] / "workflow" / "rules"
TWO = ["photo", "sketch"]


def kinds(study):
    return {point.settings["kind"] for point in study.fold_points("photo") if point.settings["kind"] != "merge"}


def templates(study):
    return study.identity("embed_classes").fields


def plan(study, stage, **place):
    return study.stages[stage].plan(study, **place, seed=0)


def jobs(study, stage):
    return sum(job.stage.name == stage for job in study.jobs)


def images(study):
    plans = plan(study, "headroom", domain="photo"), plan(study, "probe"), plan(study, "privacy")
    return {made.images for made in plans}


def judged_kinds(study):
    return {point.settings["kind"]: point.judged_on for point in shard_plan(study, "photo", 0, 0).points[::-1]}


# key: (value, what it decides, its value then); with the default it is another one
DECIDED = {
    "experiment": ("renamed", lambda study: report_plan(study).experiment, "renamed"),
    "beds": (["another"], lambda study: report_plan(study).beds, {"another": ""}),
    "seeds": ([4, 7], lambda study: {fold.seed for fold in report_plan(study).folds}, {4, 7}),
    "data.name": (
        "mine",
        lambda study: (study.id("prepare_domain").split("-")[0], report_plan(study).dataset),
        ("mine", "mine"),
    ),
    "data.domains": (TWO, lambda study: [client.name for client in study.clients], TWO),
    "data.class_names": ({"zero": "nought"}, lambda study: templates(study)["classes"][0], "nought"),
    "backbone.prompts": (["a {}."], lambda study: templates(study)["prompts"], ["a {}."]),
    "backbone.interpolation": ("bilinear", lambda study: study.input["interpolation"], "bilinear"),
    "backbone.resize_mode": ("squash", lambda study: study.input["mode"], "squash"),
    "evaluate.targets": (["photo"], lambda study: {fold.target for fold in report_plan(study).folds}, {"photo"}),
    "evaluate.references": (["zero_shot", "pooled"], kinds, {"zero_shot", "pooled"}),
    "evaluate.candidates": (
        ["main"],
        lambda study: {kind for kind, words in judged_kinds(study).items() if "held_out" in words},
        {"zero_shot", "ensemble", "ensemble_logits", "merge"},
    ),
    "evaluate.precision": (
        "bfloat16",
        lambda study: {
            shard_plan(study, "photo", 0, 0).precision,
            plan(study, "headroom", domain="photo").precision,
        },
        {"bfloat16"},
    ),
    "evaluate.shards": (3, lambda study: len({fold.rows for fold in report_plan(study).folds}), 36),
    "evidence.headroom": (False, lambda study: jobs(study, "headroom"), 0),
    "evidence.towers": (True, lambda study: jobs(study, "compare_towers"), 3),
    "evidence.masks": (True, lambda study: jobs(study, "compare_masks"), 3),
    "evidence.mask_ratios": ([0.3], lambda study: plan(study, "compare_masks").ratios, (0.3,)),
    "evidence.images": (20, images, {20}),
    "evidence.margin": (0.02, lambda study: report_plan(study).margin, 0.02),
    "anchors.sizes": ([8, 16, 32, 64], lambda study: plan(study, "compare_masks").sizes, (8, 16, 32, 64)),
    "statistics.images": (
        64,
        lambda study: study.identity("measure", ("gram", "client")).fields["images"],
        64,
    ),
    "corruption.clients": (
        ["photo"],
        lambda study: [bool(c.identity.fields["corruption"]) for c in study.clients],
        [False, True, False, False],
    ),
}
# field of a block: (values of two points, what else the block says)
SWEPT = {
    "prune_ratio": ([0.3, 0.7], {}),
    "prune_top": ([0.1, 0.2], {}),
    "count": (["floor", "round"], {}),
    "criterion": (["magnitude", "random"], {}),
    "space": (["delta", "factors"], {}),
    "unit": (["entry", "row"], {}),
    "scope": (["layer", "model"], {}),
    "rescale": (["none", "l1"], {}),
    "alignment": (["cosine", "contrastive"], {}),
    "reduction": (["absolute_of_mean", "mean_of_absolute"], {}),
    "anchor_size": ([8, 16], {}),
    "anchor_draw": ([0, 3], {}),
    "anchor_pool": (["captions", "classes"], {}),
    "statistics": (["client", "anchors"], {"merge": "regmean"}),
    "rank": ([None, 2], {}),
    "scale": ([1.0, 0.5], {}),
    "control": (["none", "shrunk"], {}),
    "merge": (["mean", "ties"], {}),
    "attack": (["none", "sign_flip"], {"views": "attack", "attackers": "photo"}),
    "attackers": (["photo", "sketch"], {"views": "attack", "attack": "sign_flip"}),
    "attacker_weight": (
        [0.25, 0.5],
        {"views": "attack", "attack": "sign_flip", "attackers": "photo", "merge": "weighted_mean"},
    ),
}


@pytest.mark.parametrize("key", DECIDED)
def test_a_key_decides_what_the_plan_says(config, changed, key):
    value, decided, expected = DECIDED[key]
    edited = changed(key, value)
    if key == "corruption.clients":
        for one in (config, edited):
            one["corruption"]["kind"] = "derangement"
    assert decided(build_study(edited)) == expected
    assert decided(build_study(config)) != expected


@pytest.mark.parametrize("field", SWEPT)
def test_a_field_with_two_values_makes_two_points_and_each_has_its_own(config, field):
    values, more = SWEPT[field]
    block = {"views": "sweep", "criterion": "taylor_absolute", "merge": "mean"} | more | {field: values}
    first, second = build_study(config | {"points": [block]}).points
    different = {
        name for name in {*first.settings, *second.settings} if first.settings.get(name) != second.settings.get(name)
    }
    follow = {"saliency", "measured"}  # ids of what the field asks for
    follow |= {"attackers"} if field == "attack" else set()  # nobody, where there is none
    follow |= {"alignment", "anchor_size", "anchor_draw", "reduction"} if field == "criterion" else set()
    assert different - follow == {field}
    assert str(values[-1]) in str(second.settings[field])


def test_speed_and_memory_of_an_evaluation_reach_its_command():
    rule = (RULES / "evaluate.smk").read_text(encoding="utf-8")
    for key in ("batch_size", "cache_activations"):
        assert re.search(rf'{key}=(int\()?STUDY\.settings\["evaluate"\]\["{key}"\]', rule)
        assert f"--{key.replace('_', '-')} {{resources.{key}}}" in rule
