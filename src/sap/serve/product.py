"""Two models side by side, of which each can veto a class.

    p(y | x) ∝ p_a(y | x)^w · p_b(y | x)^(1 − w)        a is the point's own merge, b the point beside it

It is the softmax of the weighted mean of their logits, a product of experts: Hinton, Neural Computation 14, 2002.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sap.config import option
from sap.serve._api import Fold, Judge, Served, Settings, beside_of, one, options_of, served, size_of


@dataclass(frozen=True)
class Options:
    weight: float = option(0.5, "w, of the point's own merge", low=0, high=1)


@served("product", "product", reads=("merge",), options=Options, beside=1)
def product(settings: Settings, fold: Fold) -> Served:
    """The weighted geometric mean of two models' probabilities, each with its own pass."""
    weight, own, (other,) = options_of(settings).weight, one(fold.merge(settings)), beside_of(settings, fold)

    def predict(judge: Judge, images: Any) -> np.ndarray:
        found = (torch.from_numpy(each.predict(judge, images)) for each in (own, other))
        first, second = (each.clamp_min(torch.finfo(each.dtype).tiny).log() for each in found)
        return np.asarray((weight * first + (1 - weight) * second).softmax(1).numpy())

    return Served(predict, own.passes + other.passes, size_of(own, other))
