"""Differences between points with their intervals, from the predictions of the same images, seeds and anchor draws."""

from collections.abc import Sequence

import numpy as np

from sap.report.frame import Results
from sap.report.outcomes import Array, draws_of, whole
from sap.stats.effect import ANSWERS, DIFFERENCES, MISSING_EFFECT, Effect, crossed_effect


def difference(results: Results, point: str | None, reference: str | None, targets: Sequence[str] = ()) -> Effect:
    """Accuracy of `point` minus that of `reference` on the held-out domains (`targets`: some of them), a share.

    Anchor draws of both are used, paired where both have them; one without draws meets each of the other's.
    Missing where a point is None or lacks predictions at a seed that both are planned at.
    """
    if point is None or reference is None:
        return MISSING_EFFECT
    values = []
    for target in targets or results.targets:
        cell = paired(results, draws_of(results.points, point), draws_of(results.points, reference), target)
        if cell is None:
            return MISSING_EFFECT
        values.append(cell)
    return crossed_effect(values, DIFFERENCES)


def paired(
    results: Results, points: Sequence[str], references: Sequence[str], domain: str, target: str | None = None
) -> Array | None:
    """(R, S, n): right minus right, draw by draw and seed by seed; S the seeds that both are planned at, or None.

    A side with one draw meets every draw of the other; else both are cut to their common number of draws.
    """
    count = (
        max(len(points), len(references)) if 1 in (len(points), len(references)) else min(len(points), len(references))
    )
    sides = whole(
        _draws(results, (list(side) * count if len(side) == 1 else list(side)[:count]), domain, target)
        for side in (points, references)
    )
    if sides is None:
        return None
    outcomes = results.outcomes
    seeds = [outcomes.seeds_of(points[0]), outcomes.seeds_of(references[0])]
    common = [seed for seed in seeds[0] if seed in seeds[1]]
    cut = [side[:, [own.index(seed) for seed in common]] for side, own in zip(sides, seeds, strict=True)]
    return cut[0] - cut[1] if common else None


def accuracy(results: Results, point: str | None, targets: Sequence[str] = ()) -> Effect:
    """Accuracy of a point on the held-out domains as an effect: estimate and interval, shares."""
    if point is None:
        return MISSING_EFFECT
    cells = whole(_draws(results, draws_of(results.points, point), target) for target in targets or results.targets)
    return MISSING_EFFECT if cells is None else crossed_effect(cells, ANSWERS)


def _draws(results: Results, points: Sequence[str], domain: str, target: str | None = None) -> Array | None:
    found = whole(results.outcomes.correct(point, domain, target) for point in points)
    return None if found is None else np.stack(found)
