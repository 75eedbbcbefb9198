"""Agreement: each singular direction of the mean, shrunk by how much the clients differ along it.

    (1/K) Σ_k ΔW_k = U diag(σ) Vᵀ                                  q directions
    x_kr = u_rᵀ ΔW_k v_r                                           (K, q), mean over clients x̄_r = σ_r
    γ_r  = max(0, 1 − s_r²/(K σ_r²))                               s_r² = variance of x_kr over clients, K − 1 below
    ΔW*  = U diag(γ ∘ σ) Vᵀ                                        (m, n), rank ≤ K·r, no layer larger than its mean

Random effects: x_kr = μ_r + a draw of the client, and so is a new domain's; γ is the positive-part James-Stein estimate
of μ_r, one direction at a time. No paper: derived for this project, relatives are Stein's estimator and Model Stock.
Model Stock's shrinkage of one direction, K c/(1 + (K − 1) c) with c the mean product of two clients' x over their mean
square, is the same number: c = (σ² − s²/K)/(σ² + (K − 1)s²/K) gives 1 − s²/(K σ²). So the two forms differ in what they
pool over the `band` directions around each one (fewer at both ends):

    james_stein:  γ_r = 1 − mean s²/(K σ_r²)                       the spread, which K clients alone estimate badly
    model_stock:  γ_r = 1 − mean s²/(K mean σ²)                    spread and strength: the cosine in a subspace

`band: 1` pools nothing, and both forms agree. Directions that the mean lacks, along which the clients cancel, stay out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry, Factors, tensors_of
from sap.lowrank import Svd, compact, svd
from sap.merge._api import merge_method
from sap.merge._ops import weighted_sum
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    form: str = option(
        "james_stein",
        "what `band` pools: the spread alone, or strength and spread",
        choices=("james_stein", "model_stock"),
    )
    band: int = option(5, "neighbouring directions that are pooled, the own one in their middle; 1 is none", low=1)


@merge_method(
    "agreement",
    paper="this project",
    family="subspace",
    options=Options,
    checked="closed forms: James and Stein's estimate of one direction; Model Stock of clients that share directions",
)
def agreement(stack: Stack, options: Options) -> Entry:
    """Mean of the clients, each singular direction shrunk by the clients' spread along it."""
    K = len(stack.clients)
    mean = weighted_sum(stack, stack.weights)  # 1/K each: no counts are asked for
    parts = svd(mean).significant()
    strengths = torch.stack([_along(entry, parts) for entry in stack.entries()])  # (K, q)
    spread = (strengths - parts.S).square().sum(0) / max(1, K - 1)  # one client does not differ from itself
    energy = parts.S**2
    noise = _pooled(spread, options.band) / K
    gamma = 1 - noise / (energy if options.form == "james_stein" else _pooled(energy, options.band))
    return compact(parts.V.T, parts.U * (gamma.clamp(min=0) * parts.S), tensors_of(mean)[0].dtype)


def _along(entry: Entry, parts: Svd) -> Tensor:
    """x_k, (q,)."""
    if isinstance(entry, Factors):
        return ((parts.U.T @ entry.B.double()) * (entry.A.double() @ parts.V).T).sum(1)
    return (parts.U * (entry.double() @ parts.V)).sum(0)


def _pooled(values: Tensor, band: int) -> Tensor:
    """Mean over each value's neighbours, (q,): the `band` places around it that exist."""
    places = torch.arange(len(values), device=values.device)
    distance = places[None] - places[:, None]
    near = ((distance >= -((band - 1) // 2)) & (distance <= band // 2)).double()
    return near @ values / near.sum(1)
