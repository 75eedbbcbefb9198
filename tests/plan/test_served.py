"""Points that are served as something else than one update: what they are called, what they read, what is refused."""

import re
from pathlib import Path

import pytest

from sap.errors import SapError
from sap.pipeline import build_study
from sap.plan.folds import shard_plan
from sap.plan.overlays import read_config
from sap.plan.points import Gradient
from sap.plan.reporting import report_plan
from sap.plan.schema import schema

ROOT = Path(__file__).parents[2]
BOTH = {
    "module": "sap.serve.merge", "summary": "", "title": "both", "reads": ["merge"], "beside": 1, "group": "",
    "images": "", "needs": [], "options": {
        "type": "object", "properties": {"weight": {"type": "number", "default": 0.5}}, "additionalProperties": False,
    },
}  # fmt: skip
ROUTED = BOTH | {"title": "routed", "reads": ["clients"], "beside": 0}


@pytest.fixture
def study_of(config, monkeypatch):
    """Studies of the given blocks, where two more kinds are registered."""
    for name, kind in (("both", BOTH), ("routed", ROUTED)):
        monkeypatch.setitem(schema()["$defs"]["kinds"], name, kind)

    def build(*blocks, **more):
        return build_study(config | {"points": list(blocks)} | more)

    return build


def test_a_point_is_called_by_what_it_is_served_as_its_options_and_all_that_it_is_made_of(study_of):
    study = study_of(
        {"merge": "ties", "serve": "both", "beside": {"serve": "zero_shot"}},
        {"merge": "mean", "serve": {"kind": "both", "weight": 0.2}, "beside": {"merge": "ties", "scale": 0.5}},
        {"serve": "routed"},
        {"merge": "mean"},
    )
    assert [point.label for point in study.points] == [
        "both: ties + zero-shot",
        "both (weight 0.2): mean + ties, λ=0.5",
        "routed",
        "mean",
    ]
    assert len({point.id for point in study.points}) == 4
    assert study.points[2].settings == {"kind": "routed", "serve": {"weight": 0.5}}
    shown = {point.label: point for point in report_plan(study).points}
    assert shown["routed"].family == shown["both: ties + zero-shot"].family == "served"
    assert (shown["zero-shot"].group, shown["in-domain oracle"].group, shown["mean"].group) == ("floor", "ceiling", "")


def test_what_a_point_beside_reads_is_prepared_and_in_the_plan(study_of):
    pruned = {"merge": "mean", "criterion": "taylor_absolute", "alignment": "contrastive", "anchor_draw": 1}
    with_pruned, with_regmean = ({"serve": "both", "beside": other} for other in (pruned, {"merge": "regmean"}))
    study = study_of(with_pruned, with_regmean)
    gradient = Gradient("contrastive", "absolute_of_mean", 1)
    assert gradient in study.gradients
    assert study.measured == (("gram", "client"),)
    plan = shard_plan(study, study.targets[0], 0, 0)
    assert study.id("score_client", gradient) in plan.gradients
    assert list(plan.statistics) == [study.id("measure", ("gram", "client"))]
    both = next(point for point in plan.points if point.settings["kind"] == "both")
    assert both.reads == ("merge",)
    needs = {point.label: point.needs for point in report_plan(study).points}
    assert needs["both: mean + regmean, measured on clients"] == ("gram",)


def test_a_point_beside_a_ceiling_says_whose_images_that_was_trained_on(study_of):
    study = study_of({"serve": "both", "beside": {"serve": "oracle"}}, {"merge": "mean"})
    shown = {point.label: (point.group, point.images) for point in report_plan(study).points}
    assert shown["both: mean + in-domain oracle"] == ("", "target's images")
    assert shown["mean"] == ("", "")


def test_a_config_names_what_is_registered_as_a_floor_or_a_ceiling(study_of):
    kinds = {name for name, kind in schema()["$defs"]["kinds"].items() if kind["group"]}
    declared = schema()["properties"]["evaluate"]["properties"]["references"]["items"]["enum"]
    assert set(declared) == kinds == {"zero_shot", "client", "ensemble", "ensemble_logits", "pooled", "oracle"}


def test_a_ceiling_beside_a_point_is_trained_whoever_else_asks_for_it(study_of):
    block = {"serve": "both", "beside": {"serve": "pooled"}}
    quiet = {"evaluate": {"references": ["zero_shot"]}, "evidence": {"headroom": False}}
    for blocks, trained in (((block,), True), (({"merge": "mean"},), False)):
        study = study_of(*blocks, **quiet)
        assert any(trainee.kind == "pooled" for trainee in study.trainees) == trained
    assert shard_plan(study_of(block, **quiet), "photo", 0, 0).pooled


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"serve": "bth"}, "points[0].serve: unknown kind of model 'bth'. Did you mean 'both'?"),
        ({"serve": {"kind": "both", "wait": 1}}, "points[0].serve (both)"),
        ({"serve": "both"}, "points[0].beside: both is served with 1 other points, got 0."),
        ({"beside": {"merge": "ties"}}, "points[0].beside: merge is served with 0 other points, got 1."),
        ({"serve": "zero_shot"}, "points[0].serve: zero_shot is no method. Name it in evaluate.references"),
        ({"serve": "both", "beside": {"serve": "client"}}, "points[0].beside[0].serve: client is one client's model"),
        (
            {"serve": "both", "beside": {"merge": ["ties", "mean"]}},
            "points[0].beside[0].merge must have one value",
        ),
        (
            {"serve": "both", "beside": {"criterion": "taylor_absolute", "anchor_size": 9}},
            "points[0].beside[0].anchor_size must be one of anchors.sizes",
        ),
        ({"serve": {"weight": 1}}, "points[0].serve: kind is missing. Write {kind: name, option: value}."),
        ({"serve": {"kind": ["both"]}}, "points[0].serve: unknown kind of model"),
        ({"views": [["main"]]}, "points[0].views"),
        ({"views": {"main": 1}}, "points[0].views"),
        ({"judged_on": []}, "points[0].judged_on: [] and no stages leave nothing to do with these points."),
        ({"serve": "routed", "views": "sweep"}, "points[0].views: what is served as routed is shown in the main table"),
        (
            {"serve": "both", "beside": {"merge": "ties", "attack": "sign_flip"}},
            "points[0].beside[0].attack is said by the point around it.",
        ),
        ({"serve": "both", "beside": {"judged_on": "clients"}}, "points[0].beside[0].judged_on is said by the point"),
        ({"serve": "routed", "merge": "ties"}, "points[0].merge is a setting of a merge, and routed reads none."),
        (
            {"serve": "both", "beside": {"serve": "zero_shot", "scale": 0.5}},
            "points[0].beside[0].scale is a setting of a merge, and zero_shot reads none.",
        ),
        ({"serve": "routed", "stages": "probe"}, "points[0].serve: attacks, other stages and judged_on: everyone see"),
        ({"serve": "routed", "judged_on": "everyone"}, "points[0].serve: attacks, other stages and judged_on"),
        (
            {"serve": "routed", "attack": "sign_flip", "views": "attack"},
            "points[0].serve: attacks, other stages and judged_on",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_with_its_path(study_of, block, sentence):
    with pytest.raises(SapError, match=re.escape(sentence)):
        study_of(block)


@pytest.mark.parametrize("kind", ["mixture", "product", "confidence"])
def test_zero_shot_merges_nothing_and_stands_beside_a_fusion_all_the_same(config, kind):
    study = build_study(config | {"points": [{"merge": "mean", "serve": kind, "beside": {"serve": "zero_shot"}}]})
    (fused,) = (point for point in shard_plan(study, study.targets[0], 0, 0).points if point.settings["kind"] == kind)
    assert fused.settings["beside"] == [{"kind": "zero_shot"}]
    assert fused.reads == ("merge",)


def test_what_a_kind_reads_of_its_clients_is_measured_chained_and_in_the_ledger(config):
    blocks = [{"serve": "gda"}, {"merge": "regmean", "serve": "vrf"}, {"merge": "mean"}]
    study = build_study(config | {"points": blocks})
    assert set(study.measured) == {("moments", "client"), ("failures", "client"), ("gram", "client")}
    plan = shard_plan(study, study.targets[0], 0, 0)
    points = {point.settings["kind"]: point for point in plan.points}
    moments, failures, gram = (study.id("measure", (kind, "client")) for kind in ("moments", "failures", "gram"))
    assert points["gda"].settings["measured"] == {"moments": moments}
    assert points["vrf"].settings["measured"] == {"gram": gram, "failures": failures}
    assert "measured" not in points["merge"].settings
    assert set(plan.statistics) == {moments, failures, gram}
    needs = {point.settings["kind"]: point.needs for point in report_plan(study).points}
    assert (needs["gda"], needs["vrf"], needs["merge"]) == (("moments",), ("failures", "gram"), ())


def test_a_kind_that_reads_its_clients_images_takes_no_statistics_of_the_anchors(config):
    with pytest.raises(SapError, match=r"points\[0\]\.statistics: vrf reads what clients measure on their own images"):
        build_study(config | {"points": [{"merge": "regmean", "serve": "vrf", "statistics": "anchors"}]})


def test_the_overlay_of_rivals_plans_fusions_heads_and_learned_coefficients():
    study = build_study(read_config([ROOT / "experiments/rivals.yaml"], ROOT / "config.yaml"))
    shown = {point.settings["kind"] for point in study.points if "main" in point.views}
    assert {"mixture", "product", "confidence", "scale_average", "gda", "vrf", "promptstyler", "own_curve"} <= shown
    methods = {point.settings["merge"]["method"] for point in study.points if "merge" in point.settings}
    assert {"lorahub", "ziplora", "expert_merging", "tara"} <= methods
    assert set(study.measured) == {("moments", "client"), ("failures", "client"), ("curve", "client")}


def test_a_choice_by_own_curves_is_a_candidate_of_the_held_out_client_and_its_curves_are_measured(config):
    blocks = [{"merge": "mean", "serve": "own_curve", "judged_on": "selection"}]
    study = build_study(config | {"points": blocks})
    assert set(study.measured) == {("curve", "client")}
    plan = shard_plan(study, study.targets[0], 0, 0)
    (point,) = (point for point in plan.points if point.settings["kind"] == "own_curve")
    assert {"selection", "held_out"} <= set(point.judged_on)
    assert point.settings["measured"] == {"curve": study.id("measure", ("curve", "client"))}
