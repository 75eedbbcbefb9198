"""Who chooses λ, ρ, the options of a finish or the method: nobody, the anchors, the clients, or (a ceiling) the target.

Candidates are points that were judged for a selection. Held-out client: each is merged without the clients of one
source domain and judged on that domain's validation images, for every source domain in turn; the mean decides, and what
was chosen is merged from all. This is leave-one-domain-out cross-validation with clients as folds.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sap.evaluate.rows import HELD_OUT, TEST, VALIDATION
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.outcomes import Array, twins, whole
from sap.report.table import BELOW, Column, Table, effect_columns, interval, number, percent, text
from sap.stats.effect import DIFFERENCES, MISSING_EFFECT, crossed_effect
from sap.stats.summary import summarise
from sap.stats.ties import EQUAL, largest

EMPTY = "This experiment holds no candidates to select from (evaluate.candidates, or judged_on: selection)."
EVERYTHING = "whole table"
MOST = 4  # methods that a choice over the whole table names
MODES = {  # mode -> what choosing costs
    "fixed": "nothing",
    "anchor": "anchors",
    "client": "one more round: every client scores every candidate, its own update inside",
    "held-out client": "one more round: every client scores every candidate of the others",
    "held-out client, one SE": "the same",
    "held-out client, parabola": "the same",
    "oracle": "labels of the target",
}
HELD_OUT_CLIENT = "held-out client"
CHOICES, CEILINGS = "Chosen without the target", "Ceilings: chosen on the target's own labels, never a result"
NOTES = (
    "One choice per held-out domain and seed. Fixed: one value for all. Anchor: lowest loss on the public anchors. "
    "Client: highest mean accuracy on the sources' validation images, of what all clients merge to. Held-out client: "
    "the same images, each source domain's judged by what is merged without its clients; no image leaves one. "
    "Oracle: highest accuracy on the target. The smaller update wins a tie.",
    "One SE: the smallest update whose mean accuracy lies within one binomial standard error of the best. Parabola: "
    "the value nearest to the vertex of the least-squares parabola through the means, or the best where it has none.",
    "Depth-wise λ: the merges that differ in the options of their finish alone. "
    f"{EVERYTHING.capitalize()}: every candidate that has all scores, whatever its method; its fixed row would be a "
    "method named in advance.",
    "Accuracy in percent on the held-out domains, mean ± sd over seeds. Δ: points above zero-shot [95 % interval over "
    "seeds and images]; ↓ below zero-shot. Chosen: value × how often. n: seeds × images.",
)
Run = tuple[str, int]  # target, seed


@dataclass(frozen=True, eq=False)
class Family:
    """Candidates among which one is chosen: points, in the order in which ties are resolved.

    values: of the setting that tells them apart, None where they differ in more than one; fixed: the point of the value
    that is taken where nobody chooses, if it is a candidate.
    """

    name: str
    symbol: str
    points: tuple[str, ...]
    values: tuple[float, ...] | None = None
    fixed: str | None = None

    def called(self, results: Results, point: str) -> str:
        """A candidate in a word or two."""
        if self.values is None:
            return str(results.points.loc[point, "label"])
        return f"{self.values[self.points.index(point)]:g}"


def families(results: Results) -> dict[str, Family]:
    """Name -> candidates: the λ path of each method, the ρ of each kind of pruning and the options of each finish of a
    merge, where they have two values or more, and the whole table. A second family of a name has a point's id, too."""
    found: dict[str, Family] = {}
    for family in _families(results):
        name = f"{family.name}, {family.symbol}" if family.symbol else family.name
        found[name if name not in found else f"{name} [{family.points[0]}]"] = family
    return found


def chosen(results: Results, family: Family, mode: str) -> dict[Run, str] | None:
    """(target, seed) -> the point that `mode` chooses; None where it cannot: no fixed value, or a score is missing."""
    runs = [(target, seed) for target in results.targets for seed in results.seeds]
    if mode == "fixed":
        return dict.fromkeys(runs, family.fixed) if family.fixed else None
    if mode.endswith("parabola") and (family.values is None or len(family.values) < 3):
        return None
    choose = _RULES[mode]
    scored, found = _scores(results, family, mode), dict[Run, str]()
    for target, seed in runs:
        scores = scored.get((target, seed), {})
        there = [point for point in family.points if point in scores]
        if not there or (family.values is not None and len(there) < len(family.points)):
            return None
        found[target, seed] = choose(family, there, scores)
    return found


def selected_correct(results: Results, family: Family, mode: str) -> list[Array] | None:
    """(1, S, n) per target: 1 where the candidate chosen there at that seed is right; None where any is missing."""
    choice = chosen(results, family, mode)
    if choice is None:
        return None
    cells = []
    for target in results.targets:
        rows = whole(_correct(results, choice[target, seed], target, seed) for seed in results.seeds)
        if rows is None:
            return None
        cells.append(np.stack(rows)[None])
    return cells


def selection_frame(results: Results) -> pd.DataFrame:
    """One row per family and mode that it allows, the oracle's last: section, family, symbol, mode, costs, candidates,
    accuracy, sd, delta with _low and _high, chosen (`0.5 × 7, 0.9 × 5`), seeds, images; NaN where a score is
    missing."""
    start = next(iter(results.of_kind("zero_shot")), None)
    floor = results.outcomes.held_out(start) if start else None
    found = families(results).values()
    records = [
        {"section": CEILINGS if mode == "oracle" else CHOICES, "family": family.name, "symbol": family.symbol}
        | {"mode": mode, "costs": costs, "candidates": len(family.points)}
        | _record(results, family, mode, floor)
        for oracle in (False, True)
        for family in found
        for mode, costs in MODES.items()
        if (mode == "oracle") == oracle and _applies(results, family, mode)
    ]
    return pd.DataFrame(records)


@table("selection", "Who chooses λ, ρ and the method", "2 Accuracy")
def selection_table(results: Results) -> Table:
    """Accuracy when λ, ρ, the options of a finish or the whole method is fixed, chosen by the anchors, by the clients'
    validation images, by each client for the merges of the others, or on the target itself. The last section is a
    ceiling: how far the others fall short of it is the price of not knowing the target."""
    columns = [
        Column("what", lambda row: row["family"] + (f", {row['symbol']}" if row["symbol"] else "")),
        Column("selection", text("mode")),
        Column("choosing costs", text("costs")),
        Column("candidates", number("candidates")),
        Column("accuracy", percent("accuracy", "sd")),
        Column("Δ", lambda row: interval("delta")(row) + (f" {BELOW}" if row["delta"] < 0 else "")),
        Column("chosen", text("chosen", absent="missing")),
        Column("n", lambda row: f"{number('seeds')(row)} × {number('images')(row)}"),
    ]
    return Table(selection_frame(results), columns, EMPTY, section="section", notes=NOTES)


# --- the families ------------------------------------------------------------------------------------------------


def _families(results: Results) -> Iterator[Family]:
    points, largest_family = _candidates(results), 1
    merges = points[(points["kind"] == "merge") & (points["control"] == "none") & ~points["prune_ratio"].eq(0)]
    for setting, symbol, fixed in (("scale", "λ", 1.0), ("prune_ratio", "ρ", 0.5)):
        left = merges if setting == "scale" else merges[merges["criterion"] != "none"]
        while len(left):
            values = twins(left, left.index[0], setting).astype(float).sort_values(kind="stable")
            left = left.drop(values.index)
            if len(values) > 1:
                largest_family = max(largest_family, len(values))
                at = next(iter(values.index[values == fixed]), None)
                last = values.index[-1]
                name = str(points.loc[at or last, "label"]).removesuffix(f", {symbol}={values[last]:g}")
                yield Family(name, symbol, tuple(values.index), tuple(values), at)
    for name, members in _finished(results, merges.index).items():
        largest_family = max(largest_family, len(members))
        yield Family(name, "", _by_size(results, members))
    if largest_family < len(points):  # else it would be that family once more
        yield Family(EVERYTHING, "", _by_size(results, points.index))


def _finished(results: Results, merges: Collection[str]) -> dict[str, list[str]]:
    """Name of the choice -> those of the merges that differ in the options of their finish alone, two or more."""
    alike: dict[str, list[str]] = {}
    for point in results.plan.points:
        if point.choice and point.id in merges:
            alike.setdefault(point.choice, []).append(point.id)
    return {choice: members for choice, members in alike.items() if len(members) > 1}


def _by_size(results: Results, points: Iterable[str]) -> tuple[str, ...]:
    """The points by the mean norm of what they serve; those without one last, in their order."""
    norms = results.norms.groupby("point").mean()

    def size(point: str) -> float:
        norm = 0.0 if results.points.loc[point, "kind"] == "zero_shot" else norms.get(point, np.inf)
        return np.inf if np.isnan(norm) else norm

    return tuple(sorted(points, key=size))


def _candidates(results: Results) -> pd.DataFrame:
    """The points that were judged for a selection, without those under attack."""
    points = results.points
    return points[points["judged_on"].map(lambda words: "selection" in words) & (points["attack"] == "")]


def _applies(results: Results, family: Family, mode: str) -> bool:
    if mode.startswith(HELD_OUT_CLIENT) and len(results.domains) < 3:
        return False  # without the target and one source domain nobody is left
    if mode == "fixed":
        return family.fixed is not None
    if family.values is None:
        return not mode.endswith("parabola")
    return not mode.endswith("parabola") or len(family.values) > 2


# --- the rules ---------------------------------------------------------------------------------------------------

Scores = Mapping[str, tuple[float, float]]  # point -> (what the mode maximises, its variance)


def _best(family: Family, points: list[str], scores: Scores) -> str:
    return largest({point: scores[point][0] for point in points})  # the first wins a tie


def _one_standard_error(family: Family, points: list[str], scores: Scores) -> str:
    best, variance = scores[_best(family, points, scores)]
    return next(point for point in points if scores[point][0] >= best - np.sqrt(variance) - EQUAL)


def _parabola(family: Family, points: list[str], scores: Scores) -> str:
    values = np.array(family.values)
    bend, slope, _ = np.polyfit(values, [scores[point][0] for point in points], 2)
    if bend >= 0:
        return _best(family, points, scores)
    return points[int(np.abs(values + slope / (2 * bend)).argmin())]


_RULES: Mapping[str, Callable[[Family, list[str], Scores], str]] = dict.fromkeys(MODES, _best) | {
    "held-out client, one SE": _one_standard_error,
    "held-out client, parabola": _parabola,
}


def _scores(results: Results, family: Family, mode: str) -> dict[Run, dict[str, tuple[float, float]]]:
    """(target, seed) -> point -> (mean over the sources of what the mode maximises, its binomial variance).

    Only for points with a score of each source.
    """
    images = {"oracle": TEST, "anchor": VALIDATION, "client": VALIDATION}.get(mode, HELD_OUT)
    own = results.judged["domain"] == results.judged["target"]
    rows = results.judged[(results.judged["images"] == images) & (own if images == TEST else ~own)]
    rows = rows[rows["point"].isin(family.points)]
    score = -rows["anchor_loss"].astype(float) if mode == "anchor" else rows["accuracy"]
    rows = rows.assign(score=score, variance=score * (1 - score) / rows["n"]).dropna(subset="score")
    grouped = rows.groupby(["target", "seed", "point"])
    count = grouped["score"].count()
    means = pd.DataFrame({"score": grouped["score"].mean(), "variance": grouped["variance"].sum() / count**2})
    found: dict[Run, dict[str, tuple[float, float]]] = {}
    complete = count == (1 if images == TEST else len(results.domains) - 1)
    for (target, seed, point), score, variance in means[complete].itertuples(name=None):
        found.setdefault((target, seed), {})[point] = (score, variance)
    return found


def _correct(results: Results, point: str, target: str, seed: int) -> Array | None:
    found, planned = results.outcomes.correct(point, target), results.outcomes.seeds_of(point)
    return None if found is None or seed not in planned else found[planned.index(seed)]


def _record(results: Results, family: Family, mode: str, floor: list[Array] | None) -> dict[str, Any]:
    cells, choice = selected_correct(results, family, mode), chosen(results, family, mode)
    change = MISSING_EFFECT
    total = summarise([])
    if cells is not None:
        total = summarise(np.mean([cell.mean(axis=2)[0] for cell in cells], axis=0))
        if floor is not None:
            gains = [cell - start[None] for cell, start in zip(cells, floor, strict=True)]
            change = crossed_effect(gains, DIFFERENCES)
    counts = Counter(choice.values()) if choice else Counter()
    shown = (
        sorted(counts, key=family.points.index) if family.values else [point for point, _ in counts.most_common(MOST)]
    )
    words = [f"{family.called(results, point)} × {counts[point]}" for point in shown]
    return {
        "accuracy": total.mean,
        "sd": total.sd,
        **effect_columns("delta", change),
        "chosen": ", ".join(words) + (f" and {len(counts) - MOST} others" if len(shown) < len(counts) else ""),
        "seeds": total.n,
        "images": sum(cell.shape[2] for cell in cells) if cells else np.nan,
    }
