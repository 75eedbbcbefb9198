"""Several beds: regret, the order that turns over, and the claims on them."""

import dataclasses
import json
import sys

import numpy as np
import pandas as pd
import pytest

from sap.commands import regret as command
from sap.errors import SapError
from sap.findings import advances, claim_beds
from sap.findings import beds as module
from sap.findings.advances import LAYER, MEAN, TOTAL, ZERO, advances_frame, advances_table
from sap.findings.beds import (
    CEILINGS,
    CHOSEN,
    FIXED,
    FLOORS,
    BedRow,
    bed_rows,
    beds_frame,
    beds_table,
    best_fixed,
    correlations,
    regret_frame,
    regret_of,
    regret_table,
)
from sap.findings.claim_points import NotTestable
from sap.findings.draw_beds import draw_regret
from sap.findings.selection import EVERYTHING
from sap.report.frame import load_results
from sap.report.style import styled
from sap.report.write import markdown
from sap.stats.bed import NO_TRANSFER, TRANSFER
from tests.report.synthetic import write_experiment


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two experiments in one folder; the second names the first among its beds."""
    folder = tmp_path_factory.mktemp("pair")
    views = ("main", "path", "selection")
    first = write_experiment(folder, views=views, called="shrinking")
    second = write_experiment(folder, views=views, called="growing", turned=True)
    plan = json.loads(second.read_text(encoding="utf-8"))
    plan["beds"] = {"shrinking": str(first.relative_to(folder)), "absent": ""}
    second.write_text(json.dumps(plan), encoding="utf-8")
    return load_results(second)


class Bed:
    """What of Results the regret of made-up rows reads."""

    def __init__(self, name):
        self.plan = type("Plan", (), {"experiment": name})


@pytest.fixture
def made(monkeypatch):
    """Beds of made-up rows, {name: {label: (section, accuracies by seed)}} of 100 images in one domain."""

    def beds(given):
        rows = {
            name: {
                label: BedRow(label, section, None, [_answers(seeds)] if seeds else [])
                for label, (section, seeds) in bed.items()
            }
            for name, bed in given.items()
        }
        monkeypatch.setattr(module, "bed_rows", lambda results: rows[results.plan.experiment])
        monkeypatch.setattr(claim_beds, "bed_rows", lambda results: rows[results.plan.experiment])
        monkeypatch.setattr(module, "bed", lambda results: "")
        return [Bed(name) for name in given]

    return beds


def _answers(seeds):
    """(S, 100): the first images right, as many as each share says."""
    return np.array([np.arange(100) < round(100 * share) for share in seeds]).astype(float)


A = {
    "zero-shot": (FLOORS, [0.5, 0.5]), "mean": (FIXED, [0.4, 0.4]), "shrunk": (FIXED, [0.6, 0.6]),
    "chosen": (CHOSEN, [0.58, 0.58]), "pooled": (CEILINGS, [0.9, 0.9]), "only here": (FIXED, [0.7, 0.7]),
}  # fmt: skip
B = {
    "zero-shot": (FLOORS, [0.2, 0.2]), "mean": (FIXED, [0.7, 0.7]), "shrunk": (FIXED, [0.3, 0.3]),
    "chosen": (CHOSEN, [0.75, 0.75]), "pooled": (CEILINGS, [0.9, 0.9]),
}  # fmt: skip


def test_regret_is_the_distance_to_the_best_fixed_row_and_the_worst_bed_counts(made):
    frame = regret_frame(made({"a": A, "b": B})).set_index("method")
    assert list(frame.index) == ["chosen", "mean", "shrunk", "zero-shot"]  # by section, then by the worst
    expected = {"chosen": (0.02, -0.05), "mean": (0.2, 0.0), "shrunk": (0.0, 0.4), "zero-shot": (0.1, 0.5)}
    for label, (on_a, on_b) in expected.items():
        row = frame.loc[label]
        assert (row["behind__a"], row["behind__b"]) == (pytest.approx(on_a), pytest.approx(on_b))
        assert row["worst"] == pytest.approx(max(on_a, on_b))
        assert row["worst_bed"] == ("a" if on_a > on_b else "b")
        assert row["worst_low"] <= row["worst"] <= row["worst_high"]
    assert frame.loc["chosen", "mean_rank"] == 1.5
    assert frame.loc["zero-shot", "mean_rank"] == 3.5


def test_a_row_without_predictions_is_missing_and_the_others_stay(made):
    broken = B | {"mean": (FIXED, [])}
    frame = regret_frame(made({"a": A, "b": broken})).set_index("method")
    assert np.isnan(frame.loc["mean", "worst"])
    assert frame.loc["mean", "worst_bed"] == ""
    assert frame.loc["shrunk", "worst"] == 0  # now the best of both
    assert "missing" in markdown(regret_of(made({"a": A, "b": broken})), "Regret")


def test_a_turned_order_correlates_negatively(made):
    values = {"one": 0.2, "two": 0.4, "three": 0.6, "four": 0.8}
    up = {label: (FIXED, [value, value]) for label, value in values.items()}
    down = {label: (FIXED, [1 - value, 1 - value]) for label, value in values.items()}
    ((first, second, found, (low, high)),) = correlations(made({"a": up, "b": down}))
    assert (first, second, found) == ("a", "b", pytest.approx(-1))
    assert low <= found <= high < 0
    assert list(correlations(made({"a": A, "b": B}))) == []  # two rows have no order worth a correlation


def test_a_beds_own_leader_is_chosen_at_the_other_seeds(made):
    own = {"x": (FIXED, [0.9, 0.1]), "y": (FIXED, [0.1, 0.9]), "z": (FIXED, [0.3, 0.3])}
    other = {"x": (FIXED, [0.1, 0.1]), "y": (FIXED, [0.2, 0.2]), "z": (FIXED, [0.8, 0.8])}
    a, b = made({"a": own, "b": other})
    effect = claim_beds._against_leader(claim_beds._fixed(a), claim_beds._fixed(b))
    assert effect.estimate == pytest.approx(0.3 - 0.1)  # at each seed the leader of the other one does badly


@pytest.mark.parametrize("claim", [claim_beds.order_turns, claim_beds.no_regret])
def test_claims_on_beds_need_two_of_them(results, claim):
    with pytest.raises(NotTestable, match="stands on one bed alone"):
        claim(results)


def test_two_beds_of_one_kind_tell_nothing_about_the_other(pair, monkeypatch):
    monkeypatch.setattr(claim_beds, "bed", lambda _: TRANSFER)
    with pytest.raises(NotTestable, match=f"none says '{NO_TRANSFER}'"):
        claim_beds.order_turns(pair)


def test_both_claims_rest_on_every_bed(pair, monkeypatch):
    kinds = {"shrinking": NO_TRANSFER, "growing": TRANSFER}
    monkeypatch.setattr(claim_beds, "bed", lambda one: kinds[one.plan.experiment])
    first, second, correlation = claim_beds.order_turns(pair)
    assert [first.name, second.name] == [
        "leader of shrinking − leader of growing, on growing", "leader of growing − leader of shrinking, on shrinking",
    ]  # fmt: skip
    assert -1.5 <= correlation.effect.estimate <= 0.5
    parts = claim_beds.no_regret(pair)
    assert [part.name.split(":")[0] for part in parts] == ["shrinking", "growing"]
    for part, one in zip(parts, pair.beds, strict=True):
        chosen = bed_rows(one)[f"{EVERYTHING}, by held-out client"]
        assert part.effect.estimate == pytest.approx(best_fixed(one).accuracy - chosen.accuracy - 0.01)


def test_the_tables_and_the_figure_read_the_other_experiment_by_its_plan(pair):
    assert [one.plan.experiment for one in pair.beds] == ["shrinking", "growing"]
    frame = regret_table(pair).frame
    assert {"behind__shrinking", "behind__growing"} <= set(frame.columns)
    assert len(frame) > 20
    looked = beds_frame(pair.beds)
    assert len(looked) <= 10
    assert {"zero-shot", "pooled-source LoRA", f"{EVERYTHING}, by held-out client"} <= set(looked["method"])
    printed = markdown(beds_table(pair), "Beds")
    assert "↓" in printed
    with styled():
        figure = draw_regret(pair)
    assert figure.axes[0].get_xlabel() == "accuracy on shrinking, %"
    assert len(figure.axes[0].texts) > 4


def test_two_points_of_one_label_are_two_rows_and_a_point_of_two_views_is_one(results):
    points = results.points.copy()
    first, second = points.index[points["merge"] == "ties"][0], points.index[points["merge"] == "sum"][0]
    points.loc[second, "label"] = points.loc[first, "label"]
    rows = bed_rows(dataclasses.replace(results, points=points))
    assert [row.point for row in rows.values()].count(second) == 1
    assert rows[f"{points.loc[first, 'label']} [{second}]"].point == second
    both = [row.point for row in bed_rows(results).values() if row.point]
    assert len(both) == len(set(both))


def test_an_experiment_that_stands_alone_says_so(results):
    for table in (regret_table, beds_table):
        assert "stands alone" in markdown(table(results), "Alone")
    with styled():
        assert "stands alone" in draw_regret(results).texts[0].get_text()


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["regret", *words])
    command.main(command.parser().parse_args())


def test_the_command_names_what_has_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SapError, match="there is no experiment 'a' that has run here; those that have: none"):
        run(monkeypatch, "a", "b")


def test_the_command_prints_and_writes_the_table_of_experiments_that_have_run(pair, monkeypatch, capsys):
    monkeypatch.chdir(pair.root)
    folder = pair.root / "results/experiments"
    folder.mkdir(parents=True)
    for one in pair.beds:
        name = one.plan.experiment
        path = pair.root / f"results/plans/report-{name}-made.json"
        path.write_bytes((pair.root / f"results/plans/{name}.json").read_bytes())
        record = {"settings": {}, "uses": [str(path.relative_to(pair.root))]}
        (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(SapError, match="Name two or more"):
        run(monkeypatch, "growing")
    run(monkeypatch, "shrinking", "growing", "--out", "both")
    assert "behind on shrinking" in capsys.readouterr().out
    assert (pair.root / "both/regret.csv").exists()


def advancing(monkeypatch, gain, shared=0.0):
    """Rows of two beds: `better` has `gain` over the mean on both, and `shared` over its control on the second."""
    rng = np.random.default_rng(0)

    def right(share):
        return [(rng.random((3, 400)) < share).astype(float) for _ in range(2)]

    beds = [Bed("a"), Bed("b")]
    rows = {
        bed.plan.experiment: {
            "zero-shot": BedRow("zero-shot", FLOORS, "z", right(0.4)),
            "plain mean": BedRow("plain mean", FIXED, "m", right(0.5)),
            "better": BedRow("better", FIXED, "p", right(0.5 + gain)),
            "chosen": BedRow("chosen", CHOSEN, None, right(0.45)),
        }
        for bed in beds
    }
    settings = {"kind": "merge", "merge": {"method": "score"}}
    finish = {"method": "mean_at_norms", "norm": "layer"}
    for bed in beds:
        points = {"p": settings, "c": settings | {"finish": finish}, "z": {"kind": "zero_shot"}, "m": {"kind": "merge"}}
        points["t"] = settings | {"finish": finish | {"norm": "total"}}
        bed.plan.points = [type("Shown", (), {"id": name, "settings": given})() for name, given in points.items()]
        bed.points = pd.DataFrame({"label": {"m": "plain mean"}})
        share = {"a": 0.5, "b": 0.5 + gain - shared}[bed.plan.experiment]
        bed.outcomes = type("Outcomes", (), {"held_out": lambda self, point, share=share: right(share)})()
    monkeypatch.setattr(advances, "bed_rows", lambda results: rows[results.plan.experiment])
    monkeypatch.setattr(advances, "unpruned_mean", lambda results: "m")
    return beds


def test_a_row_advances_where_it_beats_mean_zero_shot_and_its_controls_on_every_bed(monkeypatch):
    frame = advances_frame(advancing(monkeypatch, 0.2, shared=0.2)).set_index("method")
    row = frame.loc["better"]
    assert row["advances"] == "yes"
    assert row["p_holm"] == pytest.approx(2 * row["p"])  # two rows were tried
    for name in (MEAN, ZERO, LAYER, TOTAL):
        assert row[f"least__{name}"] > 0.1
    others = frame.drop("better")
    assert (others["advances"] == "no").all()
    assert (others["p"] == 1).all()
    assert np.isnan(frame.loc["chosen", [f"least__{LAYER}", f"least__{TOTAL}"]].astype(float)).all()


def test_a_row_that_its_control_equals_on_one_bed_does_not_advance(monkeypatch):
    beds = advancing(monkeypatch, 0.2, shared=0.0)
    frame = advances_frame(beds).set_index("method")
    assert frame.loc["better", "advances"] == "no"
    assert frame.loc["better", "least"] in (f"{LAYER}, on b", f"{TOTAL}, on b")
    printed = markdown(advances_table(type("Results", (), {"beds": beds})()), "Advances")
    assert "2 rows were tried; 0 advance." in printed


def test_a_row_without_a_control_is_never_said_to_advance_however_small_its_p(monkeypatch):
    beds = advancing(monkeypatch, 0.2, shared=0.2)
    for bed in beds:
        bed.plan.points = [point for point in bed.plan.points if point.id not in ("c", "t")]
    row = advances_frame(beds).set_index("method").loc["better"]
    assert row["p_holm"] < 0.05
    assert row["advances"] == "not controlled"
    printed = markdown(advances_table(type("Results", (), {"beds": beds})()), "Advances")
    assert "2 rows were tried; 0 advance." in printed


def test_the_control_of_a_pruned_row_is_its_shrunk_twin(results):
    controls = advances._controls(results)
    shrunk = [point.id for point in results.plan.points if point.settings.get("control") == "shrunk"]
    assert shrunk
    for point in results.plan.points:
        twin = controls.get(point.id, {}).get(LAYER)
        if point.settings.get("control") == "none" and "ablation" in point.views:
            assert twin in shrunk
            own = {name: value for name, value in point.settings.items() if name != "control"}
            theirs = results.plan.points[[each.id for each in results.plan.points].index(twin)].settings
            assert own == {name: value for name, value in theirs.items() if name != "control"}
