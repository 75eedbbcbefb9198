import dataclasses

import numpy as np
import pytest

from sap.evaluate.rows import VALIDATION
from sap.findings.selection import CEILINGS, candidates, chosen, selected_correct, selection_frame, selection_table
from sap.findings.variance import components, variance_frame
from sap.report.write import markdown
from tests.report.synthetic import DOMAINS

FIXED = {"SAP": 0.5, "unpruned": 1.0}


@pytest.fixture(scope="module")
def frame(results):
    return selection_frame(results).set_index(["family", "mode"])


def validation(results, point, target, seed, column):
    rows = results.judged
    inside = (rows["point"] == point) & (rows["target"] == target) & (rows["seed"] == seed)
    return rows[inside & (rows["images"] == VALIDATION)][column].astype(float)


@pytest.mark.parametrize("family", list(FIXED))
def test_each_mode_chooses_by_its_own_score_and_by_nothing_else(results, family):
    points = candidates(results, family)
    found = {mode: chosen(results, family, mode) for mode in ("fixed", "anchor", "client", "oracle")}
    for target in DOMAINS:
        for seed in results.seeds:
            run = target, seed
            losses = {v: validation(results, p, *run, "anchor_loss").mean() for v, p in points.items()}
            clients = {v: validation(results, p, *run, "accuracy").mean() for v, p in points.items()}
            oracle = {v: results.accuracy[p, target, seed, target] for v, p in points.items()}
            assert found["fixed"][run] == FIXED[family]
            assert losses[found["anchor"][run]] == min(losses.values())
            assert clients[found["client"][run]] == pytest.approx(max(clients.values()))
            assert oracle[found["oracle"][run]] == max(oracle.values())


def test_candidates_that_are_equally_good_by_other_sums_tie_and_the_smaller_value_wins(results):
    """The same three accuracies of the sources, in another order for each candidate."""
    rows, points = results.judged.copy(), candidates(results, "unpruned")
    for shift, point in enumerate(points.values()):
        for target in DOMAINS:
            for seed in results.seeds:
                found = validation(results, point, target, seed, "accuracy").index
                rows.loc[found, "accuracy"] = np.roll([30, 36, 58], shift) / 60
    even = dataclasses.replace(results, judged=rows)
    assert set(chosen(even, "unpruned", "client").values()) == {min(points)}


def test_selected_predictions_are_those_of_the_chosen_candidates(results, frame):
    choice, points = chosen(results, "SAP", "client"), candidates(results, "SAP")
    cells = selected_correct(results, "SAP", "client")
    for cell, target in zip(cells, DOMAINS, strict=True):
        assert cell.shape[:2] == (1, 3)
        for seed in results.seeds:
            expected = results.accuracy[points[choice[target, seed]], target, seed, target]
            assert cell[0, seed].mean() == pytest.approx(expected)
    assert frame.loc[("SAP", "client"), "accuracy"] == pytest.approx(np.mean([cell.mean() for cell in cells]))


def test_the_oracle_is_a_ceiling_and_stands_apart(results, frame):
    for family in FIXED:
        modes = frame.loc[family]
        assert modes["accuracy"].idxmax() == "oracle"
        assert (modes["section"] == CEILINGS).to_dict() == {
            "fixed": False, "anchor": False, "client": False, "oracle": True,
        }  # fmt: skip
    assert selection_table(results).sections()[-1][0] == CEILINGS
    assert "one more round" in frame.loc[("SAP", "client"), "costs"]


def test_every_choice_is_counted(results, frame):
    for counted in frame["chosen"]:
        assert sum(int(part.split(" × ")[1]) for part in counted.split(", ")) == len(DOMAINS) * len(results.seeds)


def test_equal_scores_choose_the_smallest_value(results):
    rows = results.judged.assign(
        anchor_loss=results.judged["anchor_loss"].where(results.judged["anchor_loss"].isna(), 0.5)
    )
    assert set(chosen(dataclasses.replace(results, judged=rows), "SAP", "anchor").values()) == {0.1}


def test_a_missing_validation_row_leaves_only_the_modes_that_read_it_missing(results):
    rows = results.judged
    point = candidates(results, "SAP")[0.9]
    gone = rows[(rows["point"] == point) & (rows["images"] == VALIDATION)].index[:1]
    broken = selection_frame(dataclasses.replace(results, judged=rows.drop(gone))).set_index(["family", "mode"])
    missing = broken["accuracy"].isna()
    assert set(missing.index[missing]) == {("SAP", "anchor"), ("SAP", "client")}
    assert "missing" in markdown(selection_table(dataclasses.replace(results, judged=rows.drop(gone))), "Selection")


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


def test_equal_draws_have_no_variance_of_their_own_and_another_point_among_them_has(results):
    point, draws = candidates(results, "SAP")[0.5], [candidates(results, "SAP")[value] for value in (0.1, 0.5, 0.9)]
    same, other = components(results, [point] * 3), components(results, draws)
    assert same["draw"] == pytest.approx(0, abs=1e-9)
    assert same["draw_share"] == pytest.approx(0, abs=1e-9)
    assert other["draw"] > 0.005


def test_a_missing_row_makes_its_components_missing(results):
    point = variance_frame(results)["point"].iloc[0]
    rows = results.judged[~((results.judged["point"] == point) & (results.judged["seed"] == 1))]
    (row,) = variance_frame(dataclasses.replace(results, judged=rows)).to_dict("records")
    assert np.isnan([row["mean"], row["se"], row["image"]]).all()
