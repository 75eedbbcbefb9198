"""Paired tests between methods, and what a paired comparison of so many images can find at all."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from sap.stats.ties import snapped


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> dict[str, float]:
    """Exact McNemar test of two methods on the same images; (n,) bool each. {"only_a", "only_b": counts, "p"}.

    Two-sided, by the binomial distribution of the images that exactly one method gets right; p is 1 without any.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_mcnemar  # slow to import

    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"paired predictions need one of each per image, got {a.shape} and {b.shape}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    table = [[int(np.sum(a & b)), only_a], [only_b, int(np.sum(~a & ~b))]]
    return {"only_a": only_a, "only_b": only_b, "p": float(exact_mcnemar(table, exact=True).pvalue)}


def wilcoxon(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided p of the Wilcoxon signed-rank test of a − b over cells, (n,) float each, for example seed × domain.

    Differences that only float noise tells apart are ties (sap.stats.ties). Equal pairs count half to each side
    (scipy's "zsplit"). NaN where every pair is equal or a value is missing. Exact, but beyond ten cells with ties or
    equal pairs by the tie-corrected normal approximation: all signs take a second.
    """
    from scipy import stats  # slow to import

    difference = snapped(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
    if np.isnan(difference).any() or not difference.any():
        return np.nan
    tied = np.unique(np.abs(difference)).size < difference.size or not difference.all()
    method = "asymptotic" if tied and difference.size > 10 else "auto"
    return float(stats.wilcoxon(difference, zero_method="zsplit", method=method).pvalue)


def friedman(matrix: ArrayLike) -> tuple[float, float]:
    """(statistic, p) of Friedman's test that all methods rank alike; `matrix` (cells, methods) float.

    Scores that only float noise tells apart share a rank (sap.stats.ties). NaN with fewer than three methods or two
    cells, where a value is missing, or where all methods tie in every cell.
    """
    from scipy import stats

    matrix = np.atleast_2d(snapped(matrix))
    if matrix.shape[1] < 3 or len(matrix) < 2 or np.isnan(matrix).any() or not np.ptp(matrix, axis=1).any():
        return np.nan, np.nan
    found = stats.friedmanchisquare(*matrix.T)
    return float(found.statistic), float(found.pvalue)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p for each name; a NaN stays NaN and does not count as a test."""
    from statsmodels.stats.multitest import multipletests

    tested = [name for name, value in p.items() if not np.isnan(value)]
    adjusted = multipletests([p[name] for name in tested], method="holm")[1] if tested else []
    return dict.fromkeys(p, np.nan) | dict(zip(tested, map(float, adjusted), strict=True))


def detectable_difference(n: int, discordant: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest accuracy difference (a share) that McNemar's test of n images finds with `power` at two-sided `alpha`.

    discordant: share of images that exactly one of the two methods gets right. c √(discordant/n), c = z_{1−α/2} +
    z_power, the normal approximation (Connor 1987 without its second-order term). A difference is never larger than the
    share of images that differ: where that is too small to hold one, c²/n, which is about 8 images that all differ one
    way. So models that differ on no image still have a smallest difference; above 1, n images find none.
    """
    if not n:
        return np.inf
    c = ndtri(1 - alpha / 2) + ndtri(power)
    return float(max(c * np.sqrt(discordant / n), c**2 / n))
