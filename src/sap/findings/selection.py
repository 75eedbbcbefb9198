"""Who chooses ρ or λ: nobody, the anchors, the clients, or (a ceiling) the target's own labels."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sap.evaluate.rows import TEST, VALIDATION
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.outcomes import Array, whole
from sap.report.table import BELOW, Column, Table, effect_columns, interval, number, percent, text
from sap.stats.effect import DIFFERENCES, MISSING_EFFECT, crossed_effect
from sap.stats.summary import summarise
from sap.stats.ties import largest

EMPTY = "This experiment holds no candidates to select from (points of the view `selection`)."
FAMILIES = {  # family -> (criterion of its candidates, the setting that is chosen, its symbol, its fixed value)
    "SAP": ("taylor_absolute", "prune_ratio", "ρ", 0.5),
    "unpruned": ("none", "scale", "λ", 1.0),
}
MODES = {  # mode -> what choosing costs
    "fixed": "nothing",
    "anchor": "anchors",
    "client": "one more round: every client scores every candidate",
    "oracle": "labels of the target",
}
CHOICES, CEILINGS = "Chosen without the target", "Ceilings: chosen on the target's own labels, never a result"
NOTES = (
    "One choice per held-out domain and seed. Fixed: one value for all. Anchor: lowest loss on the public anchors. "
    "Client: highest mean accuracy on the sources' validation images, which the clients send back for every candidate. "
    "Oracle: highest accuracy on the target. The smaller value wins a tie.",
    "Accuracy in percent on the held-out domains, mean ± sd over seeds. Δ: points above zero-shot [95 % interval over "
    "seeds and images]; ↓ below zero-shot. Chosen: value × how often. n: seeds × images.",
)


def candidates(results: Results, family: str) -> dict[float, str]:
    """value -> point of one of FAMILIES, ascending; of several merges the first in the plan's order."""
    criterion, setting, _, _ = FAMILIES[family]
    inside = results.points.loc[results.in_view("selection")]
    inside = inside[(inside["criterion"] == criterion) & (inside["control"] == "none")]
    inside = inside[inside["merge_key"] == inside["merge_key"].iloc[0]] if len(inside) else inside
    return {float(value): point for point, value in inside[setting].astype(float).sort_values().items()}


def chosen(results: Results, family: str, mode: str) -> dict[tuple[str, int], float] | None:
    """(target, seed) -> the value that `mode` chooses; None without candidates, or where a score is missing."""
    points = candidates(results, family)
    runs = [(target, seed) for target in results.targets for seed in results.seeds]
    if mode == "fixed":
        fixed = FAMILIES[family][3]
        return dict.fromkeys(runs, fixed) if fixed in points else None
    scores = _scores(results, list(points.values()), mode)
    found = {}
    for run in runs:
        values = {value: scores.get((point, *run), np.nan) for value, point in points.items()}
        if not values or np.isnan(list(values.values())).any():
            return None
        found[run] = largest(values)  # ascending: the smaller value wins a tie
    return found


def selected_correct(results: Results, family: str, mode: str) -> list[Array] | None:
    """(1, S, n) per target: 1 where the candidate chosen there at that seed is right; None where any is missing."""
    choice, points = chosen(results, family, mode), candidates(results, family)
    if choice is None:
        return None
    cells = []
    for target in results.targets:
        rows = whole(_correct(results, points[choice[target, seed]], target, seed) for seed in results.seeds)
        if rows is None:
            return None
        cells.append(np.stack(rows)[None])
    return cells


def selection_frame(results: Results) -> pd.DataFrame:
    """One row per family and mode, the oracle's last: section, family, mode, costs, accuracy, sd, delta with _low and
    _high, chosen (`0.5 × 7, 0.9 × 5`), seeds, images; NaN where a row of the choice is missing."""
    families = [family for family in FAMILIES if candidates(results, family)]
    start = next(iter(results.of_kind("zero_shot")), None)
    floor = results.outcomes.held_out(start) if start else None
    records = [
        {"section": CEILINGS if mode == "oracle" else CHOICES, "family": family, "mode": mode, "costs": costs}
        | _record(results, family, mode, floor)
        for oracle in (False, True)
        for family in families
        for mode, costs in MODES.items()
        if (mode == "oracle") == oracle
    ]
    return pd.DataFrame(records)


@table("selection", "Who chooses ρ and λ", "2 Accuracy")
def selection_table(results: Results) -> Table:
    """Accuracy when ρ or λ is fixed, chosen by the anchors, by the clients' validation images, or on the target itself.
    The last section is a ceiling: how far the others fall short of it is the price of not knowing the target."""
    columns = [
        Column("what", lambda row: f"{row['family']}, {FAMILIES[row['family']][2]}"),
        Column("selection", text("mode")),
        Column("choosing costs", text("costs")),
        Column("accuracy", percent("accuracy", "sd")),
        Column("Δ", lambda row: interval("delta")(row) + (f" {BELOW}" if row["delta"] < 0 else "")),
        Column("chosen", text("chosen", absent="missing")),
        Column("n", lambda row: f"{number('seeds')(row)} × {number('images')(row)}"),
    ]
    return Table(selection_frame(results), columns, EMPTY, section="section", notes=NOTES)


def _scores(results: Results, points: list[str], mode: str) -> Mapping[tuple[str, str, int], float]:
    """(point, target, seed) -> what the mode maximises; absent or NaN where a row is missing."""
    rows = results.judged[results.judged["point"].isin(points)]
    if mode == "oracle":
        rows = rows[(rows["domain"] == rows["target"]) & (rows["images"] == TEST)]
        column = rows["accuracy"]
    else:
        rows = rows[rows["images"] == VALIDATION]
        column = rows["accuracy"] if mode == "client" else -rows["anchor_loss"].astype(float)
    grouped = rows.assign(score=column).groupby(["point", "target", "seed"])["score"]
    sources = len(results.domains) - 1
    complete = (lambda count: count == 1) if mode == "oracle" else (lambda count: count == sources)
    return grouped.mean().where(complete(grouped.count())).to_dict()


def _correct(results: Results, point: str, target: str, seed: int) -> Array | None:
    found, planned = results.outcomes.correct(point, target), results.outcomes.seeds_of(point)
    return None if found is None or seed not in planned else found[planned.index(seed)]


def _record(results: Results, family: str, mode: str, floor: list[Array] | None) -> dict[str, Any]:
    cells, choice = selected_correct(results, family, mode), chosen(results, family, mode)
    change = MISSING_EFFECT
    total = summarise([])
    if cells is not None:
        total = summarise(np.mean([cell.mean(axis=2)[0] for cell in cells], axis=0))
        if floor is not None:
            gains = [cell - start[None] for cell, start in zip(cells, floor, strict=True)]
            change = crossed_effect(gains, DIFFERENCES)
    counts = sorted(Counter(choice.values()).items()) if choice else []
    return {
        "accuracy": total.mean,
        "sd": total.sd,
        **effect_columns("delta", change),
        "chosen": ", ".join(f"{value:g} × {count}" for value, count in counts),
        "seeds": total.n,
        "images": sum(cell.shape[2] for cell in cells) if cells else np.nan,
    }
