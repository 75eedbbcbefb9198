"""Coordinate-wise means without extreme values; n clients, f of them possibly malicious, x_(1) ≤ … ≤ x_(n) per entry.

    trimmed_mean         ΔW*[i, j] = (x_(f+1) + … + x_(n−f)) / (n − 2f)                     (m, n)
    mean_around_median   ΔW*[i, j] = mean of the n − f values nearest to the median         (m, n)

Yin et al., ICML 2018, arXiv:1803.01498; Xie et al., 2018, arXiv:1802.10116 (ByzFL's Meamed). Both are valid for
n ≥ 2f+1; f null is the largest such f. With that f the trimmed mean leaves one or two values, so it is the median: give
a smaller f from five clients on. Departs from ByzFL where two values are equally near to the median: the smaller one
counts, whatever the clients' order.
"""

from dataclasses import dataclass

from torch import Tensor

from sap.config import option
from sap.merge._api import merge_method
from sap.merge._robust import by_coordinate, entrywise_mean_around_median, entrywise_trimmed_mean
from sap.update import Stack
from sap.validity import MAJORITY, majority


@dataclass(frozen=True)
class Options:
    f: int | None = option(None, "clients that may be malicious; null is the largest f with n >= 2f+1", low=0)


@merge_method(
    "trimmed_mean",
    paper="arXiv:1803.01498",
    family="robust",
    options=Options,
    check=majority,
)
def trimmed_mean(stack: Stack, options: Options) -> Tensor:
    """Coordinate-wise mean without the f smallest and the f largest values."""
    f = MAJORITY.tolerated(len(stack.clients), options.f)
    return by_coordinate(stack, lambda values, _: entrywise_trimmed_mean(values, f))


@merge_method(
    "mean_around_median",
    paper="arXiv:1802.10116",
    family="robust",
    options=Options,
    check=majority,
)
def mean_around_median(stack: Stack, options: Options) -> Tensor:
    """Coordinate-wise mean of the n − f values nearest to the median."""
    count = len(stack.clients) - MAJORITY.tolerated(len(stack.clients), options.f)
    return by_coordinate(stack, lambda values, _: entrywise_mean_around_median(values, count))
