"""Every method against zero-shot, against the unpruned mean and against its shrinkage control, by several tests."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sap.findings.main import main_frame, pruned
from sap.report.effects import difference
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.outcomes import draws_of, whole
from sap.report.scores import grid, shrunk_control
from sap.report.table import Column, Table, effect_columns, interval, is_missing, number, p_value, percent
from sap.stats.paired import friedman, holm, mcnemar, wilcoxon
from sap.stats.rliable import probability_of_improvement
from sap.stats.ties import smallest

EMPTY = "This experiment holds no points for the main table."
TO_ZERO_SHOT, TO_MEAN, TO_CONTROL = (
    "Against zero-shot",
    "Against the unpruned mean",
    "Pruned, against the unpruned merge at the same layer norms",
)
TOGETHER = "All methods at once"
NOTES = (
    "Effect: points on the held-out domains [95 % interval over anchor draws, seeds and images; a paired hierarchical "
    "bootstrap]; p: of the same interval, two-sided; Holm: over the rows of its section. Detectable: what a 5 % test "
    "finds with 80 % power.",
    "McNemar: exact, on the images of one domain under the first seed and anchor draw; the smallest p after Holm over "
    "domains. Wilcoxon: over (seed, domain) cells. Better: chance that a run of the method beats one of the reference.",
    "Cells share test images, and McNemar's test sees one training only: where they disagree, the interval is to be "
    "believed. Friedman: do all methods of the main table rank alike over the cells? n: draws × seeds × images.",
)


def comparisons_frame(results: Results) -> pd.DataFrame:
    """One row per method and reference, then Friedman's test; shares in [0, 1].

    against, method, point, reference, effect with _low and _high, p, p_holm, detectable, mcnemar (the smallest p after
    Holm over domains), mcnemar_domain, mcnemar__{target} (raw p), wilcoxon, better, draws, seeds, images.
    """
    table = main_frame(results)
    methods = table[table["kind"] == "merge"] if len(table) else table
    start, mean = next(iter(results.of_kind("zero_shot")), None), unpruned_mean(results)
    pairs = [(TO_ZERO_SHOT, row, start) for _, row in methods.iterrows()]
    pairs += [(TO_MEAN, row, mean) for _, row in methods.iterrows() if row["point"] != mean]
    pairs += [(TO_CONTROL, row, shrunk_control(results, row["point"])) for _, row in methods.iterrows() if pruned(row)]
    records = [
        {"against": against, "method": row["method"], **compare(results, row["point"], reference)}
        for against, row, reference in pairs
        if reference is not None
    ]
    for against in dict.fromkeys(record["against"] for record in records):
        inside = [record for record in records if record["against"] == against]
        adjusted = holm({record["point"]: record["p"] for record in inside})
        for record in inside:
            record["p_holm"] = adjusted[record["point"]]
    if records:
        records.append(_together(results, list(methods["point"])))
    return pd.DataFrame(records)


def compare(results: Results, point: str, reference: str) -> dict[str, Any]:
    """All tests of one pair."""
    effect = difference(results, point, reference)
    planned = [results.outcomes.seeds_of(name) for name in (point, reference)]
    common = [seed for seed in planned[0] if seed in planned[1]]
    a, b = (grid(results, name).loc[common].to_numpy() for name in (point, reference))
    first = [draws_of(results.points, name)[0] for name in (point, reference)]
    raw = {target: _mcnemar(results, first, target, common[0]) for target in results.targets}
    adjusted = {target: p for target, p in holm(raw).items() if not np.isnan(p)}
    complete = len(adjusted) == len(results.targets)
    clearest = smallest(adjusted) if complete else None
    whole = not (np.isnan(a).any() or np.isnan(b).any())
    return {
        "point": point,
        "reference": reference,
        **effect_columns("effect", effect),
        "p": min(1.0, 2 * min(effect.p_greater, effect.p_less)) if effect.seeds else np.nan,
        "p_holm": np.nan,
        "detectable": effect.detectable,
        "mcnemar": adjusted[clearest] if clearest else np.nan,
        "mcnemar_domain": clearest,
        **{f"mcnemar__{target}": p for target, p in raw.items()},
        "wilcoxon": wilcoxon(a.ravel(), b.ravel()),
        "better": probability_of_improvement(a, b) if whole else np.nan,
        "draws": effect.draws,
        "seeds": effect.seeds,
        "images": effect.images,
    }


def unpruned_mean(results: Results) -> str | None:
    """Id of the plain mean of all updates: merge `mean`, nothing pruned, λ = 1, no attack."""
    points = results.points
    plain = (points["criterion"] == "none") & (points["scale"] == 1) & (points["attack"] == "")
    plain &= (points["kind"] == "merge") & (points["control"] == "none")
    found = points.index[plain]
    return next((p for p in found if json.loads(points.loc[p, "merge_key"])["method"] == "mean"), None)


@table("comparisons", "Every method against zero-shot, the unpruned mean and its shrinkage control", "1 Claims")
def comparisons_table(results: Results) -> Table:
    """Every method against zero-shot, against the unpruned mean and, where it prunes, against the unpruned merge at the
    same layer norms. Read the interval, then Holm's p, and take an effect below the detectable difference for not seen,
    not for absent."""
    columns = [
        Column("method", lambda row: row["method"]),
        Column("effect", _absent_together(interval("effect"))),
        Column("p", lambda row: p_value(row["p"])),
        Column("Holm", _absent_together(lambda row: p_value(row["p_holm"]))),
        Column("detectable", _absent_together(percent("detectable"))),
        Column("McNemar", _absent_together(_mcnemar_cell)),
        Column("Wilcoxon", _absent_together(lambda row: p_value(row["wilcoxon"], "all equal"))),
        Column("better", _absent_together(number("better", "{:.2f}"))),
        Column("n", _n),
    ]
    return Table(comparisons_frame(results), columns, EMPTY, section="against", notes=NOTES)


def _mcnemar(results: Results, pair: Sequence[str], target: str, seed: int) -> float:
    """Exact p of two points on one domain at one seed; NaN where a row is missing."""
    reads = whole(results.outcomes.read(name, target, seed) for name in pair)
    if reads is None:
        return np.nan
    return mcnemar(*(read["predicted"] == read["labels"] for read in reads))["p"]


def _together(results: Results, methods: list[str]) -> dict[str, Any]:
    """Friedman's test over all methods; its blocks are the (seed, domain) cells."""
    cells = np.stack([grid(results, point).to_numpy().ravel() for point in methods], axis=1)
    statistic, p = friedman(cells)
    said = "" if np.isnan(statistic) else f", statistic {statistic:.1f}"
    name = f"Friedman, {len(methods)} methods × {len(cells)} cells{said}"
    return {"against": TOGETHER, "method": name, "p": p, "seeds": len(results.seeds)}


def _absent_together(cell):
    return lambda row: "–" if row["against"] == TOGETHER else cell(row)


def _mcnemar_cell(row: pd.Series) -> str:
    return "missing" if is_missing(row["mcnemar"]) else f"{p_value(row['mcnemar'])} ({row['mcnemar_domain']})"


def _n(row: pd.Series) -> str:
    if row["against"] == TOGETHER:
        return "–"
    return f"{row['draws']:.0f} × {row['seeds']:.0f} × {row['images']:.0f}"
