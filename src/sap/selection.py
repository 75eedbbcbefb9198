"""Exact selection of the lowest entries of tensors: exactly floor(ρN) of them, ties by position.

One pass finds the cut (an order statistic, no sort); with the cut, every mask is one comparison. A cut is a few
numbers, so cuts of many clients, layers and ratios can be kept where scores or ranks of a large model could not.
Shared by prune (masks) and merge (trimming), which may not import one another.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, cat


class Cut(NamedTuple):
    """Entries below `value` go; of those equal to it, all that come before (`tensor`, `position`)."""

    value: float
    tensor: int  # index in the list of score tensors
    position: int  # index in that tensor, rows first


def share_of(share: float, total: int) -> Fraction:
    """share · total, exact for the decimal that was written: 0.9 of 1000 is 900, whatever 0.9 is in binary."""
    return Fraction(str(share)) * total


def floor_share(share: float, total: int) -> int:
    """floor(share · total), exact for the decimal that was written."""
    return math.floor(share_of(share, total))


def find_cut(scores: list[Tensor], dropped: int) -> Cut:
    """The cut below which exactly `dropped` entries of all `scores` (any shapes) together lie.

    Ties at the cut go in order: first tensor first, rows first.
    """
    return find_cuts(scores, [dropped])[0]


def find_threshold(scores: list[Tensor], place: int) -> Cut:
    """The cut below the `place`-th smallest entry of all `scores` together, 1 … N: it and all equal to it stay.

    Place 0 keeps everything.
    """
    return Cut(find_cut(scores, place).value, 0, 0)


def find_cuts(scores: list[Tensor], dropped: Sequence[int]) -> list[Cut]:
    """`find_cut` for several numbers of dropped entries."""
    places = sorted({count - 1 for count in dropped if count})
    if not places:
        return [Cut(-math.inf, 0, 0)] * len(dropped)
    flat = scores[0].flatten() if len(scores) == 1 else cat([score.flatten() for score in scores])
    if flat.is_cuda:
        values = {place: flat.kthvalue(place + 1).values.item() for place in places}
    else:  # several times faster than torch's kthvalue, and without its array of indices
        ordered = flat.numpy().copy() if len(scores) == 1 else flat.numpy()  # what was concatenated is a copy already
        start = 0
        for place in places:  # one by one: numpy is fast for a single place only
            settle(ordered[start:], place - start)
            start = place
        values = {place: float(ordered[place]) for place in places}
    return [_place(scores, flat, values[n - 1], n) if n else Cut(-math.inf, 0, 0) for n in dropped]


def settle(values: np.ndarray, place: int) -> None:
    """Reorder (N,) float32 numbers in place: `values[place]` is as in sorted order, none after it is smaller.

    Where many are equal, which here are zeros, numpy's vectorised partition takes up to 50 times as long (1.8 million
    numbers: 1.2 ms without zeros, 70 ms with 60 % of them) and its sort takes less (5 ms and 2 ms).
    """
    if np.count_nonzero(values) < 0.75 * len(values):
        values.sort()
    else:
        values.partition(place)


def kept(score: Tensor, cut: Cut, tensor: int = 0) -> Tensor:
    """Boolean mask of one score tensor, the `tensor`-th of those that made the cut; True = kept."""
    score = score.contiguous()
    keep = score > cut.value
    if cut.tensor < tensor:
        keep |= score == cut.value
    elif cut.tensor == tensor:
        keep.view(-1)[cut.position :] |= score.view(-1)[cut.position :] == cut.value
    return keep


def kept_in_rows(score: Tensor, lowest: int, highest: int = 0) -> Tensor:
    """Boolean mask of a score (m, n): each row loses its `lowest` lowest and `highest` highest, ties by position."""
    keep = _above_in_rows(score, lowest)
    return keep & ~_above_in_rows(score, score.shape[1] - highest) if highest else keep


def _place(scores: list[Tensor], flat: Tensor, value: float, dropped: int) -> Cut:
    """The cut at this value; `flat` holds all scores, in any order."""
    ties = dropped - _count(flat < value)  # this many of the entries equal to the value must go
    for tensor, score in enumerate(scores):
        equal = score.flatten() == value
        found = _count(equal)
        if ties < found:
            return Cut(value, tensor, int(equal.nonzero()[ties]))
        ties -= found
    return Cut(value, len(scores), 0)


def _count(mask: Tensor) -> int:
    """True entries of a boolean mask; numpy counts many times faster on the CPU."""
    return int(mask.sum()) if mask.is_cuda else int(np.count_nonzero(mask.numpy()))


def _above_in_rows(score: Tensor, dropped: int) -> Tensor:
    """Boolean mask: each row without its `dropped` lowest."""
    if dropped == 0:
        return torch.ones_like(score, dtype=torch.bool)
    if score.is_cuda:
        value = score.kthvalue(dropped, dim=1, keepdim=True).values
    else:
        ordered = np.partition(score.numpy(), dropped - 1, axis=1)
        value = torch.from_numpy(ordered[:, dropped - 1 : dropped].copy())
    keep = score > value
    stay = score.shape[1] - dropped - keep.sum(1)  # this many of the entries equal to the row's value stay
    rows = stay.nonzero().flatten()
    if len(rows):  # the last ones do
        equal = score[rows] == value[rows]
        go = equal.sum(1) - stay[rows]
        keep[rows] |= equal & (equal.cumsum(1) > go[:, None])
    return keep
