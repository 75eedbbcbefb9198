import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from sap.findings.comparisons import TO_CONTROL, TO_MEAN, TO_ZERO_SHOT, compare, comparisons_frame, comparisons_table
from sap.findings.main import main_table
from sap.findings.metrics import metrics_frame, metrics_table
from sap.report.scores import shrunk_control, summary
from sap.stats.components import UNSEEN
from tests.report.synthetic import DOMAINS

MEAN = "merge-none-{method: mean}-1.0"


@pytest.fixture(scope="module")
def compared(results):
    return comparisons_frame(results)


def without(results, point, target, seed):
    rows = results.rows
    gone = (rows["point"] == point) & (rows["target"] == target) & (rows["seed"] == seed) & (rows["domain"] == target)
    return dataclasses.replace(results, judged=rows[~gone])


def without_points(results, gone):
    return dataclasses.replace(results, points=results.points[~gone])


def first(results, criterion, ratio=0.5):
    points = results.points
    chosen = points[
        (points["criterion"] == criterion) & (points["prune_ratio"] == ratio) & (points["control"] == "none")
    ]
    return next(point for point in results.in_view("main") if point in chosen.index)


def held_out(results, point):
    return np.array([results.accuracy[point, target, seed, target] for target in DOMAINS for seed in results.seeds])


# --- comparisons


def test_the_worst_of_domains_that_are_equally_bad_is_the_first_whatever_the_order_of_their_seeds(results):
    columns = [np.roll([0.1, 0.2, 0.3], shift) for shift in range(3)] + [np.full(3, 0.9)]
    for order in itertools.permutations(range(3)):
        grid = pd.DataFrame(np.column_stack([columns[i] for i in (*order, 3)]), results.seeds, list(DOMAINS))
        assert summary(results, grid)["worst_domain"] == DOMAINS[0]


def test_the_effect_is_the_mean_difference_over_domains_and_seeds(results, compared):
    row = compared[(compared["against"] == TO_MEAN) & (compared["point"] == first(results, "magnitude"))].iloc[0]
    expected = (held_out(results, row["point"]) - held_out(results, MEAN)).mean()
    assert row["reference"] == MEAN
    assert row["effect"] == pytest.approx(expected, abs=1e-12)
    assert row["effect_low"] < expected < row["effect_high"]
    assert (row["draws"], row["seeds"], row["images"]) == (1, 3, 600)


def test_holm_corrects_within_each_reference_and_never_lowers_a_p(compared):
    for against in (TO_ZERO_SHOT, TO_MEAN, TO_CONTROL):
        rows = compared[compared["against"] == against]
        assert (rows["p_holm"] >= rows["p"]).all()
        smallest = rows["p"].min()
        assert rows["p_holm"].min() == pytest.approx(min(1, smallest * len(rows)))


def test_only_pruned_points_meet_a_control_and_it_is_theirs(results, compared):
    rows = compared[compared["against"] == TO_CONTROL]
    assert list(results.points.loc[rows["point"], "criterion"]) == [
        "taylor_absolute",
        "taylor_signed",
        "magnitude",
        "random",
    ]
    for _, row in rows.iterrows():
        settings = results.points.loc[[row["point"], row["reference"]]]
        assert list(settings["control"]) == ["none", "shrunk"]
        for same in ("criterion", "prune_ratio", "merge_key", "anchor_size", "anchor_draw"):
            assert settings[same].nunique(dropna=False) == 1


def test_a_method_compared_with_itself_shows_nothing(results):
    found = compare(results, MEAN, MEAN)
    assert [found[name] for name in ("effect", "p")] == [0, 1]
    assert -found["effect_low"] == found["effect_high"] == pytest.approx(UNSEEN / (4 * 120))  # the smallest of four
    assert (found["mcnemar"], found["better"]) == (1, 0.5)
    assert found["detectable"] > found["effect_high"]
    assert np.isnan(found["wilcoxon"])


def test_a_missing_row_makes_its_comparison_missing_and_leaves_the_others(results, compared):
    # Every point more is compared for a second.
    fewer = without_points(results, results.points["criterion"].isin(["taylor_absolute", "taylor_signed"]))
    broken = comparisons_frame(without(fewer, first(results, "magnitude"), "printed", 0)).set_index(
        ["against", "point"]
    )
    row = broken.loc[TO_MEAN, first(results, "magnitude")]
    assert np.isnan([row[name] for name in ("effect", "p", "p_holm", "mcnemar", "wilcoxon", "better")]).all()
    other = compared.set_index(["against", "point"]).loc[TO_MEAN, first(results, "random")]
    assert broken.loc[TO_MEAN, first(results, "random")]["effect"] == other["effect"]


def test_friedman_stands_once_over_all_methods(results, compared, monkeypatch):
    monkeypatch.setattr("sap.findings.comparisons.comparisons_frame", lambda _: compared)  # as computed above
    table = comparisons_table(results)
    title, rows = table.sections()[-1]
    assert title == "All methods at once"
    assert len(rows) == 1
    assert rows[0][0].startswith("Friedman, 9 methods × 12 cells, statistic")


# --- beyond shrinkage


def test_beyond_shrinkage_pairs_every_anchor_draw_with_its_own_control(results):
    frame = main_table(results).frame.set_index("point")
    point = first(results, "taylor_absolute")
    draws = [point[:-1] + draw for draw in "012"]
    expected = np.mean([held_out(results, draw) - held_out(results, shrunk_control(results, draw)) for draw in draws])
    assert frame.loc[point, "beyond"] == pytest.approx(expected, abs=1e-12)


def test_no_gain_is_credited_where_the_interval_holds_zero(results):
    table = main_table(results)
    cell = next(column.cell for column in table.columns if column.header == "beyond shrinkage")
    pruned = table.frame[table.frame["criterion"].isin(["taylor_absolute", "magnitude"])]
    for _, row in pruned.iterrows():
        assert cell(row).endswith(" n.s.") == (row["beyond_low"] <= 0 <= row["beyond_high"])
        assert not cell(row.replace({row["beyond_low"]: 0.001, row["beyond_high"]: 0.002})).endswith("n.s.")
    unpruned = table.frame[~table.frame["criterion"].isin(["taylor_absolute", "taylor_signed", "magnitude", "random"])]
    assert {cell(row) for _, row in unpruned.iterrows()} == {"–"}


def test_a_pruned_row_without_its_control_is_missing(results):
    table = main_table(without_points(results, results.points["control"] == "shrunk"))
    cell = next(column.cell for column in table.columns if column.header == "beyond shrinkage")
    row = table.frame[table.frame["criterion"] == "magnitude"].iloc[0]
    assert cell(row) == "missing"


# --- metrics


def test_metrics_are_those_of_the_stored_predictions(results):
    row = metrics_frame(results).set_index("point").loc[MEAN]
    logs, recalls = [], []
    for target in DOMAINS:
        for seed in results.seeds:
            read = results.outcomes.read(MEAN, target, seed)
            right = read["predicted"] == read["labels"]
            logs.append(-np.log(read["true_probability"].astype(float)).mean())
            recalls.append(np.mean([right[read["labels"] == label].mean() for label in range(10)]))
    assert row["nll"] == pytest.approx(np.mean(logs))
    assert row["balanced"] == pytest.approx(np.mean(recalls))
    assert 0 < row["ece"] < 1
    assert row["accuracy"] == pytest.approx(held_out(results, MEAN).mean())
    assert row["delta_low"] < row["delta"] < row["delta_high"]
    assert row["iqm_low"] <= row["iqm"] <= row["iqm_high"]


def test_the_worst_client_is_the_lowest_mean_on_its_own_domain(results):
    row = metrics_frame(results).set_index("point").loc[MEAN]
    means = {
        domain: np.mean(
            [results.accuracy[MEAN, t, seed, domain] for t in DOMAINS if t != domain for seed in results.seeds]
        )
        for domain in DOMAINS
    }
    assert row["worst_of"] == min(means, key=means.get)
    assert row["worst_client"] == pytest.approx(min(means.values()))


def test_the_score_is_normalised_by_the_better_ceiling_and_zero_shot_and_it_are_the_ends(results):
    frame = metrics_frame(results)
    scores = frame.set_index("kind")["normalised"]
    assert scores["zero_shot"] == 0
    assert scores["oracle"] == pytest.approx(1)
    assert 0 < scores["pooled"] < 1


def test_without_two_points_of_room_no_score_is_printed(results):
    rows = results.rows.copy()
    floor = rows[rows["kind"] == "zero_shot"].set_index(["target", "seed", "domain"])["accuracy"]
    ceilings = rows["kind"].isin(["pooled", "oracle"])
    keys = list(zip(rows["target"], rows["seed"], rows["domain"], strict=True))
    rows.loc[ceilings, "accuracy"] = [floor[key] + 0.01 for key, there in zip(keys, ceilings, strict=True) if there]
    table = metrics_table(dataclasses.replace(results, judged=rows))
    cell = next(column.cell for column in table.columns if column.header == "normalised")
    assert {cell(row) for _, row in table.frame.iterrows()} == {"no room"}


def test_below_zero_shot_is_flagged(results):
    table = metrics_table(results)
    cell = next(column.cell for column in table.columns if column.header == "Δ")
    for _, row in table.frame.iterrows():
        assert cell(row).endswith("↓") == (row["delta"] < 0)
    assert (table.frame["delta"] < 0).any()
