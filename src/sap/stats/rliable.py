"""Aggregates for few runs, as Agarwal et al. 2021 define them (google-research/rliable).

Scores are (S, D), runs × tasks; here a run is a training seed and a task a held-out domain.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sap.stats.ties import snapped


def iqm(scores: ArrayLike, axis: int | None = None) -> NDArray | float:
    """Mean of the scores along `axis` (all of them, any shape) without the lowest and highest quarter.

    NaN where one is missing.
    """
    from scipy.stats import trim_mean  # slow to import

    scores = np.asarray(scores, dtype=np.float64)
    return trim_mean(scores, 0.25, axis=axis) + 0 * scores.sum(axis=axis)  # a sum is NaN where a score is


def stratified_interval(
    scores: ArrayLike,
    statistic: Callable[..., Any] = iqm,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `statistic` of (S, D) scores; each domain's seeds are resampled on their own.

    (−∞, ∞) where no two runs of a domain differ, one seed among them: nothing is known of the spread.
    `statistic` takes scores and the axis that it runs over, as numpy's mean does.
    """
    scores = snapped(scores)
    if not np.ptp(scores, axis=0).any():
        return -np.inf, np.inf
    drawn = np.random.default_rng(seed).integers(len(scores), size=(resamples, *scores.shape))
    found = statistic(np.take_along_axis(scores[None], drawn, axis=1).reshape(resamples, -1), axis=1)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> float:
    """Chance that a run of `a` (S_a, D) beats one of `b` (S_b, D) on a random domain; ties count half.

    The mean over domains of the Mann-Whitney U / (S_a S_b); what only float noise tells apart is a tie.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return float((1 + np.sign(snapped(a[:, None] - b[None])).mean()) / 2)
