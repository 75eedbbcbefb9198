"""Towers, probes, masks and privacy on made evidence whose effects are known."""

import io
import itertools
import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from sap.errors import SapError
from sap.report.catalogue import FIGURES as DRAWERS
from sap.report.catalogue import TABLES
from sap.report.frame import load_results
from sap.report.style import styled
from sap.report.write import markdown
from sap.stages.compare_masks.exhibits import BLIND, DRAWS, masks_effect, masks_frame
from sap.stages.compare_towers.exhibits import towers_effect, towers_frame
from sap.stages.privacy.exhibits import auc_effect, privacy_frame
from sap.stages.probe.exhibits import probe_effect, probe_frame
from sap.stats.effect import MISSING_EFFECT
from tests.report.hypotheses import GAPS, add_evidence, deep
from tests.report.synthetic import write_experiment

NAMES = ("towers", "probe", "masks", "privacy")
FIGURES = (*NAMES, "kept", "interference")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return add_evidence(write_experiment(tmp_path_factory.mktemp("evidence"), views=("main", "ablation")))


@pytest.fixture(scope="module")
def evidence(path):
    return load_results(path)


def point_of(results, criterion, ratio=0.0, control="none"):
    frame = results.points[(results.points["criterion"] == criterion) & (results.points["control"] == control)]
    frame = frame[(frame["merge"] == "mean") & (frame["scale"] == 1)]
    return frame.index[frame["prune_ratio"].fillna(0) == ratio][0]


def texts(figure):
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def test_the_conflict_built_into_the_visual_tower_is_found_with_its_interval(evidence):
    effect = towers_effect(evidence)
    assert effect.low < GAPS["conflict"] < effect.high
    assert effect.low > 0.05
    assert (effect.seeds, effect.images) == (3, 4)
    assert towers_effect(evidence, "cosine").estimate == pytest.approx(-2 * effect.estimate)


def test_the_difference_of_the_towers_is_that_of_the_printed_means(evidence):
    frame = towers_frame(evidence).set_index("quantity")
    np.testing.assert_allclose(frame["difference"], frame["visual"] - frame["text"], atol=1e-12)
    assert frame.loc["angle", ["visual", "visual_chance"]].tolist() == [70.0, 75.0]
    assert frame.loc["angle_excess", "visual"] == -5.0


def test_only_layers_that_both_towers_have_are_compared(evidence):
    rows = evidence.files["compare_towers", "towers"]
    deeper = rows[rows["tower"] == "visual"].assign(layer="visual.transformer.resblocks.9.mlp.c_fc.weight", cosine=9.0)
    more = pd.concat([rows, deeper])
    found = towers_effect(replace(evidence, files={("compare_towers", "towers"): more}), "cosine")
    assert found == towers_effect(evidence, "cosine")


def test_an_absent_pair_makes_the_effect_missing_and_not_smaller(evidence):
    rows = evidence.files["compare_towers", "towers"]
    gone = (rows["seed"] == 1) & (rows["client_a"] == rows["client_a"].iloc[0])
    found = towers_effect(replace(evidence, files={("compare_towers", "towers"): rows[~gone]}))
    np.testing.assert_equal(found, MISSING_EFFECT)


@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_a_probe_that_loses_the_domain_and_keeps_the_class_is_seen_against_all_references(evidence, ratio):
    sap, plain = point_of(evidence, "taylor_absolute", ratio), point_of(evidence, "none")
    for reference in (plain, point_of(evidence, "random", ratio), point_of(evidence, "magnitude", ratio)):
        effect = probe_effect(evidence, sap, reference, "domain")
        assert effect.low < -GAPS["domain"] * ratio < effect.high < 0
        kept = probe_effect(evidence, sap, reference, "class")
        assert kept.estimate == 0
        assert 0 < kept.high == -kept.low < 0.02  # no answer differs; so many images exclude no less
    frame = probe_frame(evidence).set_index("point")
    assert frame.loc[sap, "domain_random"] == pytest.approx(probe_effect(evidence, sap, plain, "domain").estimate)
    assert frame.loc[sap, "domain_chance"] == 0.25


def test_a_point_on_two_anchor_draws_is_one_row_and_its_effect_uses_both(evidence):
    first, second = (point_of(evidence, name, 0.5) for name in ("taylor_absolute", "taylor_signed"))
    plain = point_of(evidence, "none")
    alone = [probe_effect(evidence, point, plain, "domain").estimate for point in (first, second)]
    points = evidence.points.copy()
    points.loc[second, ["criterion", "anchor_draw"]] = ["taylor_absolute", 1]
    drawn = replace(evidence, points=points)
    for sign, effect in ((1, (first, plain)), (-1, (plain, second))):
        found = probe_effect(drawn, *effect, "domain")
        assert (found.draws, found.estimate) == (2, pytest.approx(sign * np.mean(alone)))
    assert first in set(probe_frame(drawn)["point"])
    assert second not in set(probe_frame(drawn)["point"])


def test_the_printed_accuracy_of_a_probe_is_that_of_its_csv(evidence):
    means = evidence.files["probe", "probe"].groupby("point")[["domain_accuracy", "class_accuracy"]].mean()
    frame = probe_frame(evidence).set_index("point")
    np.testing.assert_allclose(frame[["domain", "class"]], means.loc[frame.index])


def test_a_seed_without_a_probe_makes_every_number_of_it_missing(path, tmp_path):
    plan = json.loads(path.read_text(encoding="utf-8"))
    plan["jobs"]["probe"][1]["folder"] = "results/probe/x/not-there"
    moved = tmp_path / "results/plans/other.json"
    moved.parent.mkdir(parents=True)
    moved.write_text(json.dumps(plan), encoding="utf-8")
    (tmp_path / "results/probe").symlink_to(path.parents[1] / "probe")
    results = load_results(moved)
    frame = probe_frame(results)
    assert len(frame)
    assert frame[["domain", "class", "domain_change"]].isna().all(axis=None)
    assert "missing" in markdown(TABLES["probe"].make(results), "probe")


def test_a_damaged_file_of_a_probe_is_refused(path, tmp_path):
    plan = json.loads(path.read_text(encoding="utf-8"))
    folder = tmp_path / "results/probe/x/seed-0"
    folder.mkdir(parents=True)
    there = path.parents[2] / plan["jobs"]["probe"][0]["folder"]
    for name in ("probe.csv", "meta.json"):
        (folder / name).write_bytes((there / name).read_bytes())
    (folder / "probe.safetensors").write_bytes((there / "probe.safetensors").read_bytes()[:200])
    results = load_results(path)
    planned = replace(results.plan, jobs={"probe": [{"seed": 0, "folder": str(folder)}]})
    results = replace(results, plan=planned)
    with pytest.raises(SapError, match=r"probe\.safetensors"):
        probe_frame(results)


def test_masks_of_other_draws_agree_above_chance_and_those_of_magnitude_do_not(evidence):
    for ratio in (0.5, 0.9):
        effect = masks_effect(evidence, ratio)
        assert effect.low < (GAPS["jaccard"] + 0.01) * 2 * ratio / (1 + ratio) < effect.high
        assert (effect.draws, effect.seeds, effect.images) == (3, 3, 4)
        assert masks_effect(evidence, ratio, 8).estimate < effect.estimate
    frame = masks_frame(evidence)
    blind = frame[frame["comparison"] == BLIND]
    assert (blind["jaccard"] - blind["chance"] < 0.03).all()
    rows = frame[(frame["comparison"] == DRAWS) & (frame["size"] == 32)]
    np.testing.assert_allclose(rows["above_chance"], rows["jaccard"] - rows["chance"])


def test_two_draws_give_one_pair_and_no_component_of_draws(tmp_path):
    results = load_results(add_evidence(write_experiment(tmp_path, views=("ablation",)), draws=2))
    effect = masks_effect(results, 0.5)
    assert (effect.draws, effect.estimate > 0.1) == (1, True)
    np.testing.assert_equal(masks_effect(results, 0.7), MISSING_EFFECT)


def test_pruning_lowers_the_auc_by_what_was_built_in_and_costs_the_bytes_of_its_entries(evidence):
    plain, sap = point_of(evidence, "none"), point_of(evidence, "taylor_absolute", 0.9)
    for score in ("loss", "ratio"):
        change = auc_effect(evidence, sap, score, plain)
        assert change.estimate == pytest.approx(-0.9 * GAPS["auc"], abs=0.02)
        assert change.high < 0
        assert auc_effect(evidence, plain, score).estimate == pytest.approx(GAPS["auc"], abs=0.03)
    row = privacy_frame(evidence).set_index(["score", "point"]).loc["loss", sap]
    assert row["entry_bytes"] == 4 * 20_000 + 25_000
    assert row["saved"] == pytest.approx(1 - 105_000 / 40_000)
    assert "| −162 |" in markdown(TABLES["privacy"].make(evidence), "privacy")


def test_printed_differences_carry_their_interval_and_n(evidence):
    page = markdown(TABLES["towers"].make(evidence), "towers")
    assert "+6." in page
    assert "4 clients × 3 seeds, 16 layers" in page
    assert "240 × 3" in markdown(TABLES["probe"].make(evidence), "probe")
    assert "Chance (always the most frequent answer): 25.0 % for the domain" in markdown(
        TABLES["probe"].make(evidence), ""
    )


def shown(figure):
    """All texts but tick labels outside the limits, which matplotlib keeps and does not draw."""
    found = [text for text in figure.findobj(Text) if text.get_visible()]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                hidden = not low <= tick.get_loc() <= high
                found = [
                    text for text in found if text not in ((tick.label1, tick.label2) if hidden else (tick.label2,))
                ]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_without_the_evidence_says_so(bare, name):
    table = TABLES[name].make(bare)
    assert table.frame.empty
    assert "This experiment" in markdown(table, name)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_without_evidence_say_so(bare, name):
    if name == "interference":
        bare = replace(bare, judged=bare.rows.iloc[:0], points=bare.points.iloc[:0], files=defaultdict(pd.DataFrame))
    with styled():
        assert any("This experiment" in text.get_text() for text in texts(DRAWERS[name].make(bare)))


@pytest.mark.parametrize("name", FIGURES)
def test_titles_and_labels_of_the_figures_do_not_overlap(evidence, name):
    with styled():
        figure = DRAWERS[name].make(evidence)
        figure.savefig(io.BytesIO(), format="png", dpi=figure.dpi)
        found = [(text.get_text(), text.get_window_extent()) for text in shown(figure)]
    for (a, one), (b, other) in itertools.combinations([(text, box) for text, box in found if text], 2):
        assert not one.shrunk(0.95, 0.8).overlaps(other.shrunk(0.95, 0.8)), (a, b)


def test_the_figure_of_kept_entries_shows_each_block_and_kind_once(tmp_path):
    results = load_results(add_evidence(write_experiment(tmp_path, views=("ablation",)), layers=deep(24)))
    with styled():
        figure = DRAWERS["kept"].make(results)
    shapes = [axes.images[0].get_array().shape for axes in figure.axes if axes.images]
    assert shapes == [(4, 4), (4, 24), (4, 24)]  # saliency of 4 blocks, then ρ = 0.5 and 0.9


def test_the_same_evidence_draws_the_same_bytes(evidence):
    def image(name):
        with styled():
            buffer = io.BytesIO()
            DRAWERS[name].make(evidence).savefig(buffer, format="png", dpi=40)
        return buffer.getvalue()

    assert all(image(name) == image(name) for name in FIGURES)
