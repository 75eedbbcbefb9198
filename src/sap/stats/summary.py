"""Means, spreads and paired differences over seeds. A missing value makes every number over it missing."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sap.stats.ties import snapped


class Summary(NamedTuple):
    """Mean and sample standard deviation (n − 1 in the denominator) of `n` present values.

    Float noise is taken off: seeds that are equal have no spread, and differences that cancel have a mean of zero.
    `mean` is NaN as soon as one value is missing; `sd` is NaN then too, and for a single value.
    """

    mean: float
    sd: float
    n: int


def summarise(values: ArrayLike) -> Summary:
    """Summary of values (S,) float, one per seed; NaN marks a missing one."""
    values = snapped(values)
    n = int(np.count_nonzero(~np.isnan(values)))
    if n == 0 or n < values.size:
        return Summary(np.nan, np.nan, n)
    if np.ptp(values) == 0:  # the mean of equal values can be another number
        return Summary(float(values[0]), 0.0 if n > 1 else np.nan, n)
    return Summary(float(snapped(values.mean())), float(values.std(ddof=1)), n)


def domain_average(grid: ArrayLike) -> NDArray[np.float64]:
    """Mean over domains for each seed: (S, D) -> (S,). A missing domain makes the seed's mean NaN."""
    return np.asarray(grid, dtype=np.float64).mean(axis=1)


def difference(values: ArrayLike, reference: ArrayLike) -> Summary:
    """Summary of values (S,) − reference (S,), paired seed by seed (for Δ to zero-shot and the like)."""
    values, reference = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if values.shape != reference.shape:
        raise ValueError(f"paired values need one reference each, got {values.shape} and {reference.shape}")
    return summarise(values - reference)
