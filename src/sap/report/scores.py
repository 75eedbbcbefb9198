"""Scores of points on held-out domains as (seeds × targets) grids, and their summaries."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sap.needs import ANCHORS, from_source
from sap.report.frame import Results
from sap.report.outcomes import twins, whole
from sap.stats.summary import difference, domain_average, summarise
from sap.stats.ties import smallest

# Settings that tell merges of one criterion and ρ apart.
APART = ("merge", "space", "alignment", "reduction", "anchor_pool", "anchor_size", "scope", "rescale", "scale")


def grid(results: Results, point: str) -> pd.DataFrame:
    """Held-out accuracy of a point: index seeds (S), columns targets (D), NaN where no row exists."""
    wanted = pd.MultiIndex.from_tuples(
        [(point, target, seed, target) for seed in results.seeds for target in results.targets]
    )
    values = results.accuracy.reindex(wanted).to_numpy().reshape(len(results.seeds), len(results.targets))
    return pd.DataFrame(values, index=results.seeds, columns=results.targets)


def client_grids(results: Results) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """(mean, best) over the clients of each fold, each alone on the target; None where no client is a point.

    Best is the largest accuracy *on the target*: a choice that only an oracle can make.
    """
    points = {results.points.loc[point, "client"]: point for point in results.of_kind("client")}
    if not points:
        return None
    mean = pd.DataFrame(np.nan, index=results.seeds, columns=results.targets)
    best = mean.copy()
    for (target, seed), clients in results.folds.items():
        keys = [(points.get(client), target, seed, target) for client in clients]
        values = results.accuracy.reindex(pd.MultiIndex.from_tuples(keys)).to_numpy()
        mean.loc[seed, target] = values.mean()
        best.loc[seed, target] = values.max() if not np.isnan(values).any() else np.nan
    return mean, best


def zero_shot(results: Results) -> pd.DataFrame:
    """The zero-shot grid; all NaN where the plan has no zero-shot point."""
    points = results.of_kind("zero_shot")
    return grid(results, points[0] if points else "")


def summary(results: Results, values: pd.DataFrame) -> dict[str, Any]:
    """Summary of one grid: average over domains per seed, then mean ± sd over seeds; Δ is paired with zero-shot.

    Keys: mean, sd, delta, delta_sd, below_zero_shot (None where unknown), worst_domain, worst, seeds, images.
    """
    reference = zero_shot(results)
    per_seed = domain_average(values)
    total = summarise(per_seed)
    delta = difference(per_seed, domain_average(reference))
    domains = {target: summarise(values[target]).mean for target in values}
    complete = not any(np.isnan(value) for value in domains.values())
    worst = smallest(domains) if complete and domains else None
    return {
        "mean": total.mean,
        "sd": total.sd,
        "delta": delta.mean,
        "delta_sd": delta.sd,
        "below_zero_shot": None if np.isnan(delta.mean) else bool(delta.mean < 0),
        "worst_domain": worst,
        "worst": domains[worst] if worst else np.nan,
        "seeds": total.n,
        "images": _images(results, values.columns),
    }


def domain_columns(results: Results, values: pd.DataFrame) -> dict[str, float]:
    """`accuracy__{domain}`, `sd__{domain}` and `delta__{domain}` (paired with zero-shot) of one grid.

    Two underscores, so that no domain's name can take another column's.
    """
    reference = zero_shot(results)
    columns: dict[str, float] = {}
    for target in values:
        own = summarise(values[target])
        columns |= {
            f"accuracy__{target}": own.mean,
            f"sd__{target}": own.sd,
            f"delta__{target}": difference(values[target], reference[target]).mean,
        }
    return columns


def relative_norm(results: Results, point: str) -> float:
    """Norm of a point's update over the norm of its unpruned merge (λ = 1), mean over folds; NaN where unknown."""
    reference = unpruned(results, point)
    if reference is None:
        return np.nan
    norms = results.norms
    if point not in norms.index or reference not in norms.index:
        return np.nan
    return summarise(norms.loc[point] / norms.loc[reference].replace(0, np.nan)).mean


def unpruned(results: Results, point: str) -> str | None:
    """Id of the unpruned merge (λ = 1, no control) by the same method, or None where the plan has none."""
    points = results.points
    same = (
        (points["kind"] == "merge")
        & (points["attack"] == "")
        & (points["criterion"] == "none")
        & (points["merge_key"] == points.loc[point, "merge_key"])
        & (points["control"] == "none")
        & (points["scale"] == 1)
    )
    return next(iter(points.index[same]), None)


def shrunk_control(results: Results, point: str) -> str | None:
    """Id of a pruned point's shrinkage control: the same settings, control `shrunk`. None where the plan has none."""
    controls = twins(results.points, point, "control")
    return next(iter(controls.index[controls == "shrunk"]), None)


def uses_anchors(results: Results, point: str) -> bool:
    """True where a point's criterion or its merge method reads the anchors."""
    settings = results.points.loc[point]
    return bool(from_source(ANCHORS, settings["needs"])) or settings["statistics"] == "anchors"


def varying(results: Results, points: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The settings among `columns` that take more than one value over `points`; None does not count as a value."""
    chosen = results.points.loc[list(points), list(columns)]
    return [name for name in columns if chosen[name].dropna().nunique() > 1]


def pruning(criterion: str, ratio: float) -> str:
    """How a merge was pruned in a few words: `unpruned`, `taylor absolute, ρ = 0.5`."""
    if criterion == "none":
        return "unpruned"
    return f"{criterion.replace('_', ' ')}, ρ = {ratio:g}" if ratio else criterion


def variant(settings: pd.Series, names: Sequence[str]) -> str:
    """Some settings in a few words for a title: `taylor absolute, rescale frobenius`; absent ones are left out."""
    words = []
    for name in names:
        if settings[name] is not None:
            value = str(settings[name]).replace("_", " ")
            words.append(value if name in ("criterion", "merge") else f"{name.replace('_', ' ')} {value}")
    return ", ".join(words)


def _images(results: Results, domains: Sequence[str]) -> int | None:
    counts = whole(results.test_images.get(domain) for domain in domains)
    return None if counts is None else sum(counts)
