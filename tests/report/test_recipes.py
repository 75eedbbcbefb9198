"""The table of recipes: each against the plain one, whole and at the λ that held-out clients choose."""

import json

import numpy as np
import pytest

from sap.findings.recipes import recipes_frame, recipes_table
from sap.findings.selection import HELD_OUT_CLIENT, families, selected_correct
from sap.report.frame import load_results
from sap.report.write import markdown
from tests.report import synthetic

DOMAINS, SCALES = ("a", "b", "c"), (0.5, 1.0, 1.5)


def recipe_points(clients, views, extra_methods=0):
    """Zero-shot, and the mean of plain clients and of those of a recipe, each on a path of λ."""
    found = [
        {"id": "zero", "label": "zero-shot", "settings": {"kind": "zero_shot"}, "group": "floor", "views": ["main"]}
    ]
    for recipe in ("plain", "swa"):
        for scale in SCALES:
            settings = {"kind": "merge", "criterion": "none", "merge": {"method": "mean"}, "scale": scale}
            settings |= {} if recipe == "plain" else {"recipe": recipe, "trained": "swa-0123456789"}
            point = {"id": f"{recipe}-{scale}", "label": f"mean, {recipe}, {scale}", "settings": settings}
            found.append(point | {"views": ["recipes"], "judged_on": ["target", "selection"], "family": "average"})
    return [{"judged_on": ["target"], "needs": [], "family": None} | point for point in found]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "make_points", recipe_points)
        path = synthetic.write_experiment(root, views=("recipes",), domains=DOMAINS, seeds=(0, 1))
    plan = json.loads(path.read_text(encoding="utf-8"))
    for trained in [entry for entry in plan["trainees"] if entry["kind"] == "client"]:
        meta = f"{trained['meta'].removesuffix('/meta.json')}-swa/meta.json"
        synthetic._write(root / meta, json.dumps({"seconds": 100.0 + trained["seed"], "settings": {}}))
        plan["trainees"].append(trained | {"name": f"{trained['name']}, recipe swa", "kind": "recipe", "meta": meta})
    path.write_text(json.dumps(plan), encoding="utf-8")
    return load_results(path)


@pytest.fixture(scope="module")
def frame(results):
    return recipes_frame(results).set_index("recipe")


def test_each_recipe_is_a_row_and_zero_shot_the_last(frame):
    assert list(frame.index) == ["plain", "swa", "zero-shot, no training"]
    assert list(frame["point"]) == ["plain-1.0", "swa-1.0", "zero"]
    assert frame.loc["plain", "training"] < 10
    assert frame.loc["swa", "training"] == 100.5
    assert np.isnan(frame.loc["zero-shot, no training", "training"])


def test_accuracies_and_differences_are_means_over_domains_and_seeds(results, frame):
    whole = {
        point: np.mean([results.accuracy[point, t, seed, t] for t in DOMAINS for seed in (0, 1)])
        for point in ("plain-1.0", "swa-1.0", "zero")
    }
    for recipe, point in (("plain", "plain-1.0"), ("swa", "swa-1.0"), ("zero-shot, no training", "zero")):
        assert frame.loc[recipe, "accuracy"] == pytest.approx(whole[point])
        if recipe != "plain":
            assert frame.loc[recipe, "delta"] == pytest.approx(whole[point] - whole["plain-1.0"])
            assert frame.loc[recipe, "delta_low"] < frame.loc[recipe, "delta"] < frame.loc[recipe, "delta_high"]
    assert np.isnan(frame.loc["plain", "delta"])


def test_a_path_is_of_one_recipe_and_its_scale_is_chosen_by_held_out_clients(results, frame):
    found = [family for family in families(results).values() if family.symbol == "λ"]
    assert [family.points for family in found] == [tuple(f"{r}-{s}" for s in SCALES) for r in ("plain", "swa")]
    cells = [selected_correct(results, family, HELD_OUT_CLIENT) for family in found]
    plain, swa = (np.mean([cell.mean() for cell in one]) for one in cells)
    assert frame.loc["plain", "chosen"] == pytest.approx(plain)
    assert frame.loc["swa", "chosen"] == pytest.approx(swa)
    assert frame.loc["swa", "chosen_delta"] == pytest.approx(swa - plain)
    assert sum(int(word.split("× ")[1]) for word in frame.loc["swa", "values"].split(", ")) == 6


def test_the_table_says_where_there_is_nothing_to_show(results):
    shown = markdown(recipes_table(results), "Recipes")
    assert "| swa |" in shown
    assert "missing" not in shown
    (zero_shot,) = (line for line in shown.splitlines() if line.startswith("| zero-shot"))
    assert zero_shot.count("| – ") == 4
    assert "| 100.5 |" in shown
    bare = recipes_table(load_results(synthetic.write_experiment(results.root / "bare", views=(), domains=DOMAINS)))
    assert "merges no clients of other recipes" in markdown(bare, "Recipes")
