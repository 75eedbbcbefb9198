"""Which accuracies are equal: those that differ by float noise and by nothing else.

An accuracy is k/n, so its differences and means are rational numbers, and equal ones are true ties. Computed as floats
they differ by the order of the summation, and a rank, a sign or an argmax would read that noise. Two that are not equal
differ by 1/(n m) or more on test sets of n and m images, 1e-10 for 100,000 each; sums and differences of thousands of
floats in [0, 1] are wrong by 1e-13 at most. EQUAL lies between. Counts would be exact, but cells are often means, over
domains, anchor draws or attackers, and have no count.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

EQUAL = 1e-12  # two shares that are no further apart are the same number

K = TypeVar("K", bound=Hashable)


def snapped(values: ArrayLike) -> NDArray[np.float64]:
    """`values`, any shape, with exact ties: a magnitude within EQUAL of the next smaller one, or of zero, becomes it.

    Signs stay, NaN stays NaN, a value without such a neighbour keeps its bits. Neighbours are compared, not rounded
    numbers: two equal values never fall on different sides of a rounding step.
    """
    values = np.asarray(values, dtype=np.float64)
    sizes = np.abs(values)
    known = np.unique(np.append(sizes[~np.isnan(values)], 0.0))
    first = known[np.append(True, np.diff(known) > EQUAL)]
    tied = first[np.searchsorted(first, sizes, side="right") - 1]
    return np.where(np.isnan(values), np.nan, np.sign(values) * tied + 0.0)  # + 0.0: no minus zero


def largest(values: Mapping[K, float]) -> K:
    """The first key whose value is the largest; the order of the keys decides ties, not the noise of a sum."""
    sizes = snapped(list(values.values()))
    return list(values)[int(sizes.argmax())]


def smallest(values: Mapping[K, float]) -> K:
    """The first key whose value is the smallest, as `largest`."""
    return largest({key: -value for key, value in values.items()})


def at_least(value: float, bound: float) -> bool:
    """Whether value ≥ bound, or equals it up to float noise: 0.82 − 0.80 is at least 0.02. False for a NaN."""
    return bool(value >= bound - EQUAL)
