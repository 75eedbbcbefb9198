"""Minimum-diameter averaging: mean of the n − f clients that lie closest together.

    S = argmin_{|S| = n − f} max_{i, j ∈ S} ‖x_i − x_j‖     x_k: all layers of client k in one vector
    ΔW* = (1/(n − f)) Σ_{k ∈ S} x_k

El-Mhamdi et al., PODC 2020; the rule is exact, by looking at every subset, so their number is bounded. Valid for
n ≥ 2f+1; f null is the largest such f. Subsets often share their widest pair: of equal diameters the least sum of
squared distances wins, then the first names (ByzFL takes the first in the clients' order).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from operator import itemgetter

import torch
from torch import Tensor

from sap import validity
from sap.config import option
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._robust import client_names, gram, mean_of, squared_distances
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    f: int | None = option(None, "clients that may be malicious; null is the largest f with n >= 2f+1", low=0)


@merge_method(
    "mda", paper="El-Mhamdi et al., PODC 2020", family="robust", options=Options, scope="model", check=validity.mda
)
def mda(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """Minimum-diameter averaging: mean of the n − f clients that lie closest together."""
    names = client_names(stacks)
    size = len(names) - validity.MAJORITY.tolerated(len(names), options.f)
    return mean_of(stacks, tightest(squared_distances(gram(stacks)), size, names))


def tightest(distances: Tensor, size: int, names: Sequence[str]) -> list[int]:
    """Positions of the `size` clients with the least diameter, in ascending order."""
    order = sorted(range(len(names)), key=names.__getitem__)
    between = distances[order][:, order]
    dropped = torch.tensor(list(combinations(range(len(names)), len(names) - size)), dtype=torch.long)
    inside = torch.ones(len(dropped), len(names), dtype=between.dtype).scatter_(1, dropped, 0)  # one row per subset
    pairs = [(float(f"{between[i, j]:.9g}"), i, j) for i, j in combinations(range(len(names)), 2)]
    for _, group in groupby(sorted(pairs, reverse=True), key=itemgetter(0)):  # left are subsets without a wider pair
        narrower = torch.ones(len(inside), dtype=torch.bool)
        for _, i, j in group:
            narrower &= inside[:, i] * inside[:, j] == 0
        if not narrower.any():
            break
        inside = inside[narrower]
    sums = ((inside @ between) * inside).sum(1)
    tied = inside[sums <= sums.min() * (1 + 1e-9)]  # rounding must not decide; the last one drops the last names
    return sorted(order[k] for k in tied[-1].nonzero().flatten().tolist())
