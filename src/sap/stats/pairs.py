"""Numbers of pairs (two clients, two anchor draws) as numbers of single members, whose noise can be estimated."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def member_values(values: ArrayLike, pairs: Sequence[tuple[Hashable, Hashable]]) -> NDArray[np.float64]:
    """(..., K) jackknife pseudo-values of the K members from `values` (..., P), one for each of all P = K(K−1)/2 pairs.

    Pairs that share a member are not independent: a client unlike all others moves K − 1 of them. With U the mean over
    pairs and h_k the mean over those of member k, the pseudo-values [2(K−1)h_k − K·U] / (K − 2) average to U, and their
    variance is the jackknife's for a statistic of pairs (Arvesen 1969). Members in the order of their first pair.
    ValueError unless every pair is there once and K is 3 or more.
    """
    values = np.asarray(values, dtype=np.float64)
    members = list(dict.fromkeys(member for pair in pairs for member in pair))
    k = len(members)
    if k < 3 or values.shape[-1] != len(pairs) or len({frozenset(pair) for pair in pairs}) != len(pairs):
        raise ValueError(
            f"needs one value for each pair of three members or more, got {values.shape} for {list(pairs)}"
        )
    if len(pairs) != k * (k - 1) // 2 or any(a == b for a, b in pairs):
        raise ValueError(f"needs every pair of {members} once, got {list(pairs)}")
    inside = np.array([[member in pair for member in members] for pair in pairs], dtype=np.float64)
    means = values @ inside / (k - 1)
    return (2 * (k - 1) * means - k * values.mean(axis=-1, keepdims=True)) / (k - 2)
