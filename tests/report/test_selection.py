import dataclasses

import numpy as np
import pytest

from sap.evaluate.rows import HELD_OUT, VALIDATION
from sap.findings.selection import (
    CEILINGS,
    EVERYTHING,
    MODES,
    chosen,
    families,
    selected_correct,
    selection_frame,
    selection_table,
)
from sap.findings.variance import components, variance_frame
from sap.report.frame import load_results
from sap.report.write import markdown
from tests.report.synthetic import DOMAINS, write_experiment


@pytest.fixture(scope="module")
def frame(results):
    return selection_frame(results).set_index(["symbol", "mode"])


@pytest.fixture(scope="module")
def by_symbol(results):
    """The synthetic experiment has one family of λ, one of ρ, and the whole table."""
    found = {family.symbol: family for family in families(results).values()}
    assert {symbol: family.values for symbol, family in found.items()} == {
        "λ": (0.5, 1.0, 2.0), "ρ": (0.1, 0.3, 0.5, 0.7, 0.9), "": None,
    }  # fmt: skip
    return found


def scores(results, point, target, seed, images, column):
    rows = results.judged
    inside = (rows["point"] == point) & (rows["target"] == target) & (rows["seed"] == seed)
    return rows[inside & (rows["images"] == images)][column].astype(float)


@pytest.mark.parametrize("symbol", ["λ", "ρ", ""])
def test_each_mode_chooses_by_its_own_score_and_by_nothing_else(results, by_symbol, symbol):
    family = by_symbol[symbol]
    found = {mode: chosen(results, family, mode) for mode in ("anchor", "client", "held-out client", "oracle")}
    for target in DOMAINS:
        for seed in results.seeds:
            run = target, seed

            def means(images, column, run=run):
                return {point: scores(results, point, *run, images, column).mean() for point in family.points}

            losses = means(VALIDATION, "anchor_loss")
            assert losses[found["anchor"][run]] == min(losses.values())
            for mode, images in (("client", VALIDATION), ("held-out client", HELD_OUT)):
                accuracies = means(images, "accuracy")
                assert accuracies[found[mode][run]] == pytest.approx(max(accuracies.values()))
            oracle = {point: results.accuracy[point, target, seed, target] for point in family.points}
            assert oracle[found["oracle"][run]] == max(oracle.values())


def test_fixed_is_one_value_for_all_and_the_whole_table_has_none(results, by_symbol):
    for symbol, value in (("λ", 1.0), ("ρ", 0.5)):
        family = by_symbol[symbol]
        (point,) = set(chosen(results, family, "fixed").values())
        assert family.values[family.points.index(point)] == value
    assert chosen(results, by_symbol[""], "fixed") is None
    assert chosen(results, by_symbol[""], "held-out client, parabola") is None


def test_candidates_that_are_equally_good_by_other_sums_tie_and_the_smaller_value_wins(results, by_symbol):
    """The same three accuracies of the sources, in another order for each candidate."""
    rows, family = results.judged.copy(), by_symbol["λ"]
    for shift, point in enumerate(family.points):
        for target in DOMAINS:
            for seed in results.seeds:
                found = scores(results, point, target, seed, HELD_OUT, "accuracy").index
                rows.loc[found, "accuracy"] = np.roll([30, 36, 58], shift) / 60
    even = dataclasses.replace(results, judged=rows)
    assert set(chosen(even, family, "held-out client").values()) == {family.points[0]}


def held_out_means(results, family, *means):
    """The results with these mean accuracies of a family's candidates in every domain, of 100 images each."""
    rows = results.judged.copy()
    for point, mean in zip(family.points, means, strict=True):
        inside = (rows["point"] == point) & (rows["images"] == HELD_OUT)
        rows.loc[inside, ["accuracy", "n"]] = mean, 100
    return dataclasses.replace(results, judged=rows)


def test_one_standard_error_takes_the_smallest_update_that_is_not_surely_worse(results, by_symbol):
    family = by_symbol["λ"]
    error = np.sqrt(0.6 * 0.4 / 100 / 3)  # three sources of 100 images each: the binomial error of their mean
    for behind, place in ((0.99, 0), (1.01, 1)):
        made = held_out_means(results, family, 0.6 - behind * error, 0.6 - 0.5 * error, 0.6)
        assert set(chosen(made, family, "held-out client, one SE").values()) == {family.points[place]}
        assert set(chosen(made, family, "held-out client").values()) == {family.points[2]}


def test_a_parabola_takes_the_value_at_its_vertex_and_the_best_where_it_opens_upwards(results, by_symbol):
    family = by_symbol["ρ"]
    peak = [0.5 - (value - 0.55) ** 2 for value in family.values]
    noisy = [*peak[:4], peak[4] + 0.2]  # best by luck
    vertex = np.polyfit(family.values, noisy, 2)
    expected = family.points[int(np.abs(np.array(family.values) + vertex[1] / (2 * vertex[0])).argmin())]
    for means, point in ((peak, family.points[2]), ([-mean + 1 for mean in peak], family.points[0])):
        made = held_out_means(results, family, *means)
        assert set(chosen(made, family, "held-out client, parabola").values()) == {point}
    made = held_out_means(results, family, *noisy)
    assert set(chosen(made, family, "held-out client").values()) == {family.points[4]}
    assert set(chosen(made, family, "held-out client, parabola").values()) == {expected}


def test_selected_predictions_are_those_of_the_chosen_candidates(results, by_symbol, frame):
    family = by_symbol["ρ"]
    choice = chosen(results, family, "client")
    cells = selected_correct(results, family, "client")
    for cell, target in zip(cells, DOMAINS, strict=True):
        assert cell.shape[:2] == (1, 3)
        for seed in results.seeds:
            expected = results.accuracy[choice[target, seed], target, seed, target]
            assert cell[0, seed].mean() == pytest.approx(expected)
    assert frame.loc[("ρ", "client"), "accuracy"] == pytest.approx(np.mean([cell.mean() for cell in cells]))


def test_the_oracle_is_a_ceiling_and_stands_apart(results, frame):
    for symbol in ("λ", "ρ", ""):
        modes = frame.loc[symbol]
        assert modes["accuracy"].idxmax() == "oracle"
        assert set(modes.index[modes["section"] == CEILINGS]) == {"oracle"}
    assert set(frame.loc["λ"].index) == set(MODES)
    assert selection_table(results).sections()[-1][0] == CEILINGS
    assert "one more round" in frame.loc[("ρ", "client"), "costs"]


def test_every_choice_is_counted(results, frame):
    for counted in frame.loc[["λ", "ρ"], "chosen"]:
        assert sum(int(part.split(" × ")[1]) for part in counted.split(", ")) == len(DOMAINS) * len(results.seeds)


def test_equal_scores_choose_the_smallest_value(results, by_symbol):
    rows = results.judged.assign(
        anchor_loss=results.judged["anchor_loss"].where(results.judged["anchor_loss"].isna(), 0.5)
    )
    family = by_symbol["ρ"]
    assert set(chosen(dataclasses.replace(results, judged=rows), family, "anchor").values()) == {family.points[0]}


@pytest.mark.parametrize("images", [VALIDATION, HELD_OUT])
def test_a_missing_row_leaves_only_the_modes_that_read_it_missing(results, by_symbol, images):
    rows, point = results.judged, by_symbol["ρ"].points[4]
    gone = rows[(rows["point"] == point) & (rows["images"] == images)].index[:1]
    fewer = dataclasses.replace(results, judged=rows.drop(gone))
    broken = selection_frame(fewer).set_index(["symbol", "mode"])
    missing = broken["accuracy"].isna()
    modes = ("anchor", "client") if images == VALIDATION else [mode for mode in MODES if mode.startswith("held-out")]
    assert set(missing.index[missing]) == {("ρ", mode) for mode in modes}
    assert "missing" in markdown(selection_table(fewer), "Selection")


def test_the_whole_table_goes_on_without_a_candidate_that_lacks_a_score(results, by_symbol):
    rows, family = results.judged, families(results)[EVERYTHING]
    best = set(chosen(results, family, "held-out client").values())
    left = rows[~(rows["point"].isin(best) & (rows["images"] == HELD_OUT))]
    again = chosen(dataclasses.replace(results, judged=left), family, "held-out client")
    assert best.isdisjoint(again.values())


def with_choices(results, choices):
    """The results with these names of choices, point -> name, as a plan gives them to finished merges."""
    points = [dataclasses.replace(shown, choice=choices.get(shown.id, "")) for shown in results.plan.points]
    return dataclasses.replace(results, plan=dataclasses.replace(results.plan, points=tuple(points)))


def test_merges_that_differ_in_the_options_of_their_finish_are_one_family_the_smaller_update_first(results, by_symbol):
    small, middle, large = by_symbol["λ"].points
    other = by_symbol["ρ"].points[0]
    choices = dict.fromkeys((large, middle, small), "mean, depth-wise λ") | {other: "mean, svc"}
    made = with_choices(results, choices)
    found = families(made)
    assert "mean, svc" not in found  # one alone is no choice
    family = found["mean, depth-wise λ"]
    assert (family.points, family.values, family.fixed) == ((small, middle, large), None, None)
    frame = selection_frame(made)
    modes = frame[frame["family"] == "mean, depth-wise λ"]
    assert list(modes["mode"]) == ["anchor", "client", "held-out client", "held-out client, one SE", "oracle"]
    assert set(modes["candidates"]) == {3}
    assert modes["accuracy"].notna().all()
    assert chosen(made, family, "held-out client") == chosen(results, by_symbol["λ"], "held-out client")
    tied = held_out_means(made, family, 0.6, 0.6, 0.6)
    assert set(chosen(tied, family, "held-out client").values()) == {small}


def test_a_finish_with_one_setting_and_no_other_candidates_is_no_family(results, by_symbol):
    outside = [point for point in results.points.index if point not in families(results)[EVERYTHING].points]
    assert set(families(with_choices(results, dict.fromkeys(outside, "mean, depth-wise λ")))) == set(families(results))


def test_candidates_of_one_family_are_no_table_of_their_own(tmp_path):
    results = load_results(write_experiment(tmp_path, views=("main", "selection"), seeds=(0,)))
    paths = results.points["judged_on"].map(lambda words: "selection" in words) & (
        results.points["criterion"] == "none"
    )
    points = results.points.copy()
    points["judged_on"] = [("selection",) if path else ("target",) for path in paths]
    assert [family.symbol for family in families(dataclasses.replace(results, points=points)).values()] == ["λ"]


def test_of_two_domains_no_client_can_be_held_out(tmp_path):
    results = load_results(write_experiment(tmp_path, views=("main", "selection"), seeds=(0,), domains=("a", "b")))
    frame = selection_frame(results)
    assert set(frame["mode"]) == {"fixed", "anchor", "client", "oracle"}
    assert frame["accuracy"].notna().all()


def test_a_choice_among_values_without_the_usual_one_has_no_fixed_row_and_a_name_of_its_own(results, by_symbol):
    one = by_symbol["λ"].points[1]
    points = results.points.copy()
    points.at[one, "judged_on"] = ("target",)
    points["label"] = ["mean, λ=2" if scale == 2 else label for label, scale in points[["label", "scale"]].values]
    fewer = dataclasses.replace(results, points=points)
    frame = selection_frame(fewer).set_index("symbol").loc["λ"]
    assert "fixed" not in set(frame["mode"])
    assert not frame["family"].str.contains("λ=2").any()


def test_without_candidates_the_table_says_so(bare):
    assert "holds no candidates" in markdown(selection_table(bare), "Selection")


# --- variance


def test_points_on_several_anchor_draws_have_a_row_each(results):
    (row,) = variance_frame(results).to_dict("records")
    assert (row["criterion"], row["prune_ratio"], row["draws"], row["seeds"], row["images"]) == (
        "taylor_absolute", 0.5, 3, 3, 600,
    )  # fmt: skip
    assert row["se"] > 0
    assert 0 <= row["image_share"] <= 1.05


def test_equal_draws_have_no_variance_of_their_own_and_another_point_among_them_has(results, by_symbol):
    family = by_symbol["ρ"]
    point, draws = family.points[2], [family.points[place] for place in (0, 2, 4)]
    same, other = components(results, [point] * 3), components(results, draws)
    assert same["draw"] == pytest.approx(0, abs=1e-9)
    assert same["draw_share"] == pytest.approx(0, abs=1e-9)
    assert other["draw"] > 0.005


def test_a_missing_row_makes_its_components_missing(results):
    point = variance_frame(results)["point"].iloc[0]
    rows = results.judged[~((results.judged["point"] == point) & (results.judged["seed"] == 1))]
    (row,) = variance_frame(dataclasses.replace(results, judged=rows)).to_dict("records")
    assert np.isnan([row["mean"], row["se"], row["image"]]).all()
