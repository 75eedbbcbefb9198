"""How clients train, against how they are merged: the same merge of the clients of every recipe."""

from typing import Any

import numpy as np
import pandas as pd

from sap.findings.selection import HELD_OUT_CLIENT, Family, chosen, families, selected_correct
from sap.report.effects import difference
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.outcomes import Array
from sap.report.table import BELOW, Cell, Column, Table, effect_columns, interval, number, percent, text
from sap.setting import PLAIN
from sap.stats.effect import DIFFERENCES, MISSING_EFFECT, crossed_effect
from sap.stats.summary import summarise

ZERO_SHOT = "zero-shot, no training"
EMPTY = "This experiment merges no clients of other recipes (points of the view `recipes`)."
NOTES = (
    "Accuracy in percent on the held-out domains, mean ± sd over seeds. Chosen λ: by held-out client, one choice per "
    "held-out domain and seed (table `selection`). Training: seconds of one client, mean over clients and seeds.",
    "Δ: points above the plain recipe under the same rule, for zero-shot above its mean at λ = 1 [95 % interval over "
    "seeds and images]; ↓ below it.",
)


def recipes_frame(results: Results) -> pd.DataFrame:
    """One row per recipe with a point at λ = 1 in the view, the plain one first where it is, zero-shot last.

    recipe, point, accuracy, sd, delta with _low and _high (λ = 1); chosen, chosen_sd, chosen_delta with _low and _high,
    values (`0.5 × 3, 1 × 5`); training (seconds of a client), seeds.
    """
    points = results.points.loc[results.in_view("recipes")]
    points = points[points["scale"] == 1]
    found = {family.fixed: family for family in families(results).values() if family.symbol == "λ"}
    whole = {str(points.loc[point, "recipe"]): point for point in points.index}
    plain = whole.get(PLAIN)
    paths = {recipe: _chosen(results, found.get(point)) for recipe, point in whole.items()}
    records = [
        {"recipe": recipe, "point": point, **_at_one(results, point, plain)}
        | _path_columns(results, found.get(point), paths[recipe], paths.get(PLAIN), recipe == PLAIN)
        | {"training": _seconds(results, recipe)}
        for recipe, point in whole.items()
    ]
    if records and (start := next(iter(results.of_kind("zero_shot")), None)):
        records.append({"recipe": ZERO_SHOT, "point": start, **_at_one(results, start, plain)})
    return pd.DataFrame(records)


@table("recipes", "How clients train", "2 Accuracy")
def recipes_table(results: Results) -> Table:
    """The mean of the clients of each recipe, whole (λ = 1) and at the λ that held-out clients choose. A recipe helps
    where it is above the plain one in both: where only its λ = 1 is better, it has learned to shrink, and a smaller λ
    of the plain clients gives the same."""
    columns = [
        Column("recipe", text("recipe")),
        Column("mean, λ = 1", percent("accuracy", "sd")),
        Column("Δ", _except(_change("delta"), PLAIN)),
        Column("mean, chosen λ", _except(percent("chosen", "chosen_sd"), ZERO_SHOT)),
        Column("Δ of chosen", _except(_change("chosen_delta"), PLAIN, ZERO_SHOT)),
        Column("λ", _except(text("values", absent="missing"), ZERO_SHOT)),
        Column("training, s", _except(number("training", "{:.1f}"), ZERO_SHOT)),
        Column("seeds", number("seeds")),
    ]
    return Table(recipes_frame(results), columns, EMPTY, notes=NOTES)


def _except(cell: Cell, *recipes: str) -> Cell:
    """A dash in the rows that have no such number; elsewhere an absent one is missing."""
    return lambda row: "–" if row["recipe"] in recipes else cell(row)


def _change(name: str) -> Cell:
    return lambda row: interval(name)(row) + (f" {BELOW}" if row[name] < 0 else "")


def _at_one(results: Results, point: str, plain: str | None) -> dict[str, Any]:
    cells = results.outcomes.held_out(point)
    total = summarise([] if cells is None else np.mean([cell.mean(axis=-1) for cell in cells], axis=0))
    change = MISSING_EFFECT if plain in (None, point) else difference(results, point, plain)
    return {"accuracy": total.mean, "sd": total.sd, **effect_columns("delta", change), "seeds": total.n}


def _chosen(results: Results, family: Family | None) -> list[Array] | None:
    return None if family is None else selected_correct(results, family, HELD_OUT_CLIENT)


def _path_columns(
    results: Results, family: Family | None, cells: list[Array] | None, plain: list[Array] | None, is_plain: bool
) -> dict[str, Any]:
    """What the λ of held-out clients gives; NaN where a score is missing."""
    if family is None or cells is None:
        return {"chosen": np.nan, "chosen_sd": np.nan, **effect_columns("chosen_delta", MISSING_EFFECT), "values": None}
    total = summarise(np.mean([cell.mean(axis=2)[0] for cell in cells], axis=0))
    change = MISSING_EFFECT
    if plain is not None and not is_plain:
        change = crossed_effect([own - other for own, other in zip(cells, plain, strict=True)], DIFFERENCES)
    picked = list((chosen(results, family, HELD_OUT_CLIENT) or {}).values())
    words = [f"{family.called(results, point)} × {picked.count(point)}" for point in family.points if point in picked]
    return {
        "chosen": total.mean,
        "chosen_sd": total.sd,
        **effect_columns("chosen_delta", change),
        "values": ", ".join(words),
    }


def _seconds(results: Results, recipe: str) -> float:
    trainings = results.trainings
    if recipe == PLAIN:
        own = trainings[trainings["kind"] == "client"]
    else:
        own = trainings[(trainings["kind"] == "recipe") & trainings["name"].str.endswith(f", recipe {recipe}")]
    return float(own["seconds"].mean()) if len(own) else np.nan
