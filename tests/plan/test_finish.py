"""A finish in the config: checked, named, part of the id where there is one, and another merge to the report."""

import json
from collections import Counter
from pathlib import Path

import pytest

from sap.errors import SapError
from sap.pipeline import build_study
from sap.plan.overlays import read_config
from sap.plan.reporting import report_plan
from sap.report.readers import points as read_points

ROOT = Path(__file__).parents[2]


def points_of(config, *blocks):
    config["points"] = [{"merge": "mean", **block} for block in blocks]
    return build_study(config).points


def test_a_finish_is_part_of_the_name_and_of_the_id_and_none_is_not(config):
    plain, said = (points_of(config, block)[0] for block in ({}, {"finish": "none"}))
    assert plain.id == said.id
    assert "finish" not in plain.settings
    svc, ramp = points_of(config, {"finish": ["svc", {"method": "lines", "beta": 0.3}]})
    assert (svc.label, ramp.label) == ("mean → svc", "mean → lines (beta 0.3)")
    assert svc.id.startswith("mean-svc-")
    assert svc.settings["finish"] == {"method": "svc", "alpha": None, "sign": "gamma", "rule": "paper"}
    assert len({plain.id, svc.id, ramp.id}) == 3


@pytest.mark.parametrize(
    ("finish", "sentence"),
    [
        ("svd", r"points\[0\]\.finish: unknown finish 'svd'\. Did you mean 'svc'"),
        ({"beta": 0.3}, r"points\[0\]\.finish: method is missing"),
        ({"method": "lines", "beta": -1}, r"points\[0\]\.finish \(lines\)\.beta must be at least 0, got -1"),
    ],
)
def test_a_finish_that_does_not_exist_is_refused_where_it_stands(config, finish, sentence):
    with pytest.raises(SapError, match=sentence):
        points_of(config, {"finish": finish})


def test_the_report_takes_a_finished_mean_for_another_merge_than_the_mean(config):
    config["points"] = [{"merge": "mean", "finish": ["none", "svc", {"method": "svc", "alpha": 0.5}]}]
    found = read_points(report_plan(build_study(config)).points)
    merges = list(found[found["kind"] == "merge"]["merge"])
    assert merges[0] == "mean"
    assert len(set(merges)) == 3
    assert all(name.startswith("mean → svc (svc alpha ") for name in merges[1:])
    methods = [json.loads(key)["method"] for key in found["merge_key"].dropna()]
    assert methods == ["mean", "mean → svc", "mean → svc"]


def test_finished_merges_that_differ_in_the_options_of_the_finish_alone_are_one_choice(config):
    ramps = [{"method": "lines", "alpha": alpha} for alpha in (0.0, 0.5)]
    config["points"] = [
        {"merge": ["mean", {"method": "ties", "density": 0.3}], "finish": ["none", "svc", *ramps]},
        {"merge": "mean", "finish": ramps, "scale": 0.5},
    ]
    shown = report_plan(build_study(config)).points
    assert Counter(point.choice for point in shown if "merge" in point.settings and point.views != ("control",)) == {
        "": 2, "mean, svc": 1, "ties (density 0.3), svc": 1, "mean, depth-wise λ": 2,
        "ties (density 0.3), depth-wise λ": 2, "mean, λ=0.5, depth-wise λ": 2,
    }  # fmt: skip


def test_the_overlay_of_selection_holds_ramps_of_which_none_is_a_plain_scale():
    study = build_study(read_config([ROOT / "experiments/selection.yaml"], ROOT / "config.yaml"))
    ramps = [point for point in study.points if point.settings.get("finish", {}).get("method") == "lines"]
    grid = {(point.settings["finish"]["alpha"], point.settings["finish"]["beta"]) for point in ramps}
    assert grid == {(alpha, beta) for alpha in (0.0, 0.25, 0.5, 1.0) for beta in (0.25, 0.5, 1.0)}
    assert all(point.views == ("selection",) and study.left_one_out(point) for point in ramps)
