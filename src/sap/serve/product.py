"""Two models side by side, of which each can veto a class.

    p(y | x) ∝ p_a(y | x)^w · p_b(y | x)^(1 − w)        a is the point's own merge, b the point beside it

It is the softmax of the weighted mean of their logits, a product of experts: Hinton, Neural Computation 14, 2002.
"""

from dataclasses import dataclass
from functools import partial

from sap.config import option
from sap.serve._api import Fold, Served, Settings, options_of, served
from sap.serve._two import fused, geometric


@dataclass(frozen=True)
class Options:
    weight: float = option(0.5, "w, of the point's own merge", low=0, high=1)


@served("product", "product", reads=("merge",), options=Options, beside=1)
def product(settings: Settings, fold: Fold) -> Served:
    """The weighted geometric mean of two models' probabilities, each with its own pass."""
    return fused(settings, fold, partial(geometric, options_of(settings).weight))
