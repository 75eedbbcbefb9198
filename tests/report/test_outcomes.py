"""Statistics see the predictions that the rows were written with: the same images, seeds and draws on both sides."""

import json
import shutil

import numpy as np
import pytest

from sap.errors import SapError
from sap.io import load_tensors, save_tensors
from sap.plans import Shown
from sap.report.effects import accuracy, difference, paired
from sap.report.frame import load_results
from sap.report.outcomes import draws_of
from sap.report.readers import points


@pytest.fixture
def copy(plan, tmp_path):
    """A copy of the made-up experiment to spoil; the plan's path in it."""
    root = plan.parents[2]
    shutil.copytree(root, tmp_path / "copy")
    return tmp_path / "copy" / plan.relative_to(root)


def first(results, **settings):
    chosen = results.points["kind"] == "merge"
    for name, value in settings.items():
        chosen &= results.points[name] == value
    return results.points.index[chosen][0]


def test_accuracy_from_predictions_is_that_of_the_rows(results):
    for point in results.points.index[:6]:
        rows = results.rows[(results.rows["point"] == point) & (results.rows["domain"] == results.rows["target"])]
        for target, group in rows.groupby("target"):
            correct = results.outcomes.correct(point, target)
            assert np.allclose(correct.mean(axis=1), group.sort_values("seed")["accuracy"])


def test_an_effect_is_the_difference_of_the_tables_means(results):
    sap, mean = first(results, criterion="taylor_absolute", anchor_draw=0), first(results, merge="mean")
    one = [paired(results, [sap], [mean], target) for target in results.targets]
    rows = results.rows[results.rows["domain"] == results.rows["target"]].set_index("point")["accuracy"]
    expected = rows.loc[sap].mean() - rows.loc[mean].mean()
    assert np.mean([cell.mean() for cell in one]) == pytest.approx(expected, abs=1e-9)


def test_all_anchor_draws_of_a_point_count_and_no_other_point_does(results):
    drawn = results.points["views"].map(lambda views: "draws" in views)
    point = results.points.index[drawn][0]
    draws = draws_of(results.points, point)
    assert point in draws
    assert list(results.points.loc[draws, "anchor_draw"]) == sorted(set(results.points.loc[draws, "anchor_draw"]))
    assert results.points.loc[draws, "prune_ratio"].nunique() == 1
    assert difference(results, point, first(results, merge="mean")).draws == len(draws) > 1


def test_a_point_without_anchors_has_no_draws(results):
    mean = first(results, merge="mean")
    assert draws_of(results.points, mean) == [mean]
    assert accuracy(results, mean).draws == 1


def test_seeds_that_one_side_lacks_are_left_out_of_both(copy):
    plan = json.loads(copy.read_text(encoding="utf-8"))
    merges = [point for point in plan["points"] if point["settings"]["kind"] == "merge"]
    merges[0]["seeds"] = [1, 2]
    copy.write_text(json.dumps(plan), encoding="utf-8")
    results = load_results(copy)
    a, b = merges[0]["id"], next(p["id"] for p in merges[1:] if p["settings"].get("anchor_draw") is None)
    cell = paired(results, [a], [b], results.targets[0])
    assert cell.shape[1] == 2
    whole = paired(results, [b], [b], results.targets[0])
    assert whole.shape[1] == 3
    assert not whole.any()


def test_a_missing_row_makes_the_effect_missing_and_never_smaller(copy):
    results = load_results(copy)
    mean, start = first(results, merge="mean"), results.of_kind("zero_shot")[0]
    shard = copy.parents[2] / json.loads(copy.read_text(encoding="utf-8"))["folds"][0]["rows"]
    lines = [line for line in shard.read_text(encoding="utf-8").splitlines() if json.loads(line)["point"] != mean]
    shard.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert difference(results, mean, start).seeds == len(results.seeds)
    assert np.isnan(difference(load_results(copy), mean, start).estimate)


def test_predictions_of_another_writing_are_refused(copy):
    results = load_results(copy)
    row = results.rows.iloc[0]
    path = copy.parents[2] / json.loads(copy.read_text(encoding="utf-8"))["folds"][0]["rows"]
    predictions = path.with_name("predictions.safetensors")
    tensors = load_tensors(predictions, "np")
    name = f"{row['target']}/test/predicted"
    tensors[name] = (tensors[name] + 1) % 10
    save_tensors(predictions, tensors)
    spoilt = results.rows[results.rows["shard"] == str(path)].iloc[0]
    with pytest.raises(SapError, match="does not hold the predictions of its rows"):
        load_results(copy).outcomes.read(spoilt["point"], spoilt["target"], spoilt["seed"])


def test_points_that_are_served_otherwise_are_no_draws_of_one_another():
    def shown(name, draw, weight, other):
        merged = {"criterion": "taylor_absolute", "prune_ratio": 0.5, "merge": {"method": "mean"}, "anchor_draw": draw}
        settings = {"kind": "product", **merged, "serve": {"weight": weight}, "beside": [other]}
        return Shown(id=name, settings=settings, label=name, family="served")

    zero, ties = {"kind": "zero_shot"}, {"kind": "merge", "merge": {"method": "ties"}, "anchor_size": 8}
    listed = [shown("a", 0, 0.3, zero), shown("b", 1, 0.3, zero), shown("c", 0, 0.7, zero), shown("d", 1, 0.3, ties)]
    frame = points(listed)
    assert draws_of(frame, "a") == ["a", "b"]
    assert draws_of(frame, "c") == ["c"]
    assert draws_of(frame, "d") == ["d"]
    assert frame.loc["d", "anchor_size"] == 8  # its own merge reads no anchors


def test_a_pool_that_settings_leave_out_is_told_apart_from_the_other_and_absent_where_no_anchor_is_read():
    merged = {"kind": "merge", "merge": {"method": "mean"}, "criterion": "taylor_absolute", "prune_ratio": 0.5}
    pruned = merged | {"alignment": "cosine", "anchor_draw": 0}
    settings = [pruned, pruned | {"anchor_pool": "classes"}, {"kind": "zero_shot"}]
    frame = points([Shown(id=str(place), settings=each, label="") for place, each in enumerate(settings)])
    assert list(frame["anchor_pool"]) == ["captions", "classes", None]
    assert draws_of(frame, "0") == ["0"]
