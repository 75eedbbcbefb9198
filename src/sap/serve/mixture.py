"""Two models side by side, averaged: a class that one of them rules out can still win.

    p(y | x) = w · p_a(y | x) + (1 − w) · p_b(y | x)        a is the point's own merge, b the point beside it

With zero-shot beside a merge this is the output-space ensemble of Wortsman et al., CVPR 2022, arXiv:2109.01903, who
compare it with the weight-space one (`wise_ft`); with w = 1/2 the plain average that a cleverer fusion has to beat.
"""

from dataclasses import dataclass

from sap.config import option
from sap.serve._api import Fold, Served, Settings, options_of, served
from sap.serve._two import fused


@dataclass(frozen=True)
class Options:
    weight: float = option(0.5, "w, of the point's own merge", low=0, high=1)


@served(
    "mixture",
    "mixture",
    reads=("merge",),
    options=Options,
    beside=1,
    checked="the sum computed from the two models' own probabilities",
)
def mixture(settings: Settings, fold: Fold) -> Served:
    """The weighted mean of two models' probabilities, each with its own pass."""
    weight = options_of(settings).weight
    return fused(settings, fold, lambda own, other: weight * own + (1 - weight) * other)
