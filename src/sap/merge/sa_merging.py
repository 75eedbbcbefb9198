"""SA-Merging: the clients' rank-1 components that the anchors need and the other clients share, added up.

    ΔW_k = Σ_i b_ki a_kiᵀ,   ΔW̄ = (1/K) Σ_k ΔW_k                   of the components that are left
    γ_ki = b_kiᵀ G_k a_ki                                          to first order what the component adds to the loss
    η_ki = b_kiᵀ ΔW̄ a_ki                                           how much the mean goes the component's way
    s_ki = −γ_ki η_ki                                              large: lowers the loss, and is shared
    ΔW*  = Σ_k Σ_{i left} b_ki a_kiᵀ                               (m, n), rank K · ⌈keep·r⌉

In `rounds` rounds each client's components of lowest s go until ⌈keep·r⌉ are left, at least one, and ΔW̄ is taken
again. Saliency-Aware Model Merging, ICML 2026, arXiv:2606.00511, its form for LoRA, which prunes rank-1 components
and not entries; 10 rounds that keep 10 % are the paper's. A **sum**, as published; a point's `scale: 1/K` gives the
mean.

Departures: no code is public, so this is read from a description. G_k is the gradient of the anchors' loss at client
k's own weights where the paper takes that of a product of |weights| (SynFlow), which has no data and no sign; it is
not taken again between rounds. The paper ranks by |γ η|, `sign: absolute`; with a loss the sign says something, and
`kept` keeps it. A product cannot tell "helps, and is shared" from "harms, and nobody else does it". Components are
those of the factors as trained, so B_k R and R⁻¹ A_k, the same update, may be pruned otherwise.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry, Factors, add
from sap.merge._api import merge_method
from sap.selection import share_of
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    keep: float = option(0.1, "share of each client's rank-1 components that is left, at least one", above=0, high=1)
    rounds: int = option(10, "rounds of pruning; the mean of what is left is taken again in each", low=1)
    sign: str = option("kept", "components ranked by −γη, or by |γη| (paper)", choices=("kept", "absolute"))


# K equal clients give K times what is left of one.
@merge_method(
    "sa_merging",
    paper="arXiv:2606.00511",
    family="sensitivity",
    options=Options,
    space="factors",
    needs={"gradient"},
    average=False,
    checked="closed form: orthonormal components, where γ and η are entries of the gradient and of the mean",
)
def sa_merging(stack: Stack, options: Options) -> Entry:
    """SA-Merging: sum of the rank-1 components that lower the anchors' loss and that the clients share."""
    left = list(stack.factors)
    gradients = [_sensitivity(factors, stack.extras["gradient"](k)) for k, factors in enumerate(left)]
    for done in range(1, options.rounds + 1):
        mean = Factors(torch.cat([part.A for part in left]), torch.cat([part.B for part in left], dim=1) / len(left))
        for k, part in enumerate(left):
            scores = -gradients[k] * _shared(part, mean)
            scores = scores.abs() if options.sign == "absolute" else scores
            count = _count(stack.factors[k].A.shape[0], options, done)
            chosen = scores.sort(descending=True, stable=True).indices[:count].sort().values
            left[k], gradients[k] = Factors(part.A[chosen], part.B[:, chosen]), gradients[k][chosen]
    return add(list[Entry](left))


def _sensitivity(factors: Factors, gradient: Tensor) -> Tensor:
    """γ_k, (r,) float64."""
    gradient = gradient.to(factors.B.device, torch.float64)
    return ((factors.B.double().T @ gradient) * factors.A.double()).sum(1)


def _shared(factors: Factors, mean: Factors) -> Tensor:
    """η_k, (r,) float64."""
    left, right = factors.B.double().T @ mean.B.double(), factors.A.double() @ mean.A.double().T
    return (left * right).sum(1)


def _count(rank: int, options: Options, done: int) -> int:
    """Components of a client after so many rounds: a geometric path from r to ⌈keep·r⌉."""
    last = math.ceil(share_of(options.keep, rank))
    return last if done == options.rounds else max(last, math.ceil(rank * options.keep ** (done / options.rounds)))
