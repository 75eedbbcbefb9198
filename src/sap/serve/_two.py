"""Shared step of the kinds that fuse a point's own merge with one other point, each with its own pass."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sap.serve._api import Fold, Judge, Served, Settings, beside_of, one, size_of

Combine = Callable[[Tensor, Tensor], Tensor]  # (n, C) probabilities of the own merge and of the other -> (n, C)


def fused(settings: Settings, fold: Fold, combine: Combine) -> Served:
    """What `combine` makes of the probabilities of the own merge and of the one point beside it."""
    own, (other,) = one(fold.merge(settings)), beside_of(settings, fold)

    def predict(judge: Judge, images: Any) -> np.ndarray:
        first, second = (torch.from_numpy(each.predict(judge, images)) for each in (own, other))
        return np.asarray(combine(first, second).numpy())

    return Served(predict, own.passes + other.passes, size_of(own, other))


def geometric(weight: Tensor | float, first: Tensor, second: Tensor) -> Tensor:
    """∝ first^w · second^(1 − w), rows summing to 1: the softmax of the weighted mean of what were the two's logits."""
    logs = [each.clamp_min(torch.finfo(each.dtype).tiny).log() for each in (first, second)]
    return (weight * logs[0] + (1 - weight) * logs[1]).softmax(1)
