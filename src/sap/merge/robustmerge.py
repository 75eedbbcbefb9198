"""RobustMerge: trim the factors, lift what a direction lost, and share each direction among the clients.

    Ã_k, B̃_k = the `keep` share of largest |A_k|, |B_k|             (r, n), (m, r), other entries 0
    S_k  = Σ_j |A_k[:, j]| / Σ_j |Ã_k[:, j]|                       (r,), at least 1
    ΔW*  = λ Σ_k B̃_k diag(S_k / Σ_u S_u) Ã_k                       (m, n), rank ≤ K·r

Zeng et al., NeurIPS 2025, github.com/AuroraZengfh/RobustMerge. A weighted mean, so λ = 1 is the default; published is
`scale: 2`. Weights go by rank index: the clients need equal ranks. `variant: released` is the authors' code, which
merges factor by factor and so adds cross terms, like `product_of_means`:

    ΔW*  = (λ Σ_k B̃_k diag(S_k / Σ_u S_u)) (λ Σ_k Ã_k)              (m, n), rank r

There λ counts twice, every S_k[i] is raised to the entry ⌊clamp_level·r⌋ of the sorted S_k, and A is summed: at λ = 1
its terms of one and the same client are those of the paper's form, and where all clients share A it is K times that.
Both keep every entry at or above the ⌊(1 − keep)·N⌋-th smallest. A direction of A that lost all entries counts S = 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry, Factors
from sap.lowrank import compact
from sap.merge._api import merge_method
from sap.merge._ops import common_rank
from sap.selection import find_threshold, floor_share, kept
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    variant: str = option("paper", "the paper's algorithm, or the released code", choices=("paper", "released"))
    keep: float = option(0.2, "share of entries each factor keeps", above=0, high=1)
    scale: float = option(1.0, "λ, on the result (paper) or on each factor (released); published 2", low=0)
    clamp_level: float | None = option(
        0.8, "quantile of S_k that is its floor in `released`; null: none", low=0, below=1
    )


# K equal clients give the trimmed client, not the client.
@merge_method(
    "robustmerge", paper="Zeng et al., NeurIPS 2025", family="subspace", options=Options, space="factors", average=False
)
def robustmerge(stack: Stack, options: Options) -> Entry:
    """RobustMerge: trimmed factors, each direction shared among the clients by what its trimming cost."""
    rank = common_rank(stack, "robustmerge")
    trimmed = [
        Factors(_trimmed(factors.A, options.keep), _trimmed(factors.B, options.keep)) for factors in stack.factors
    ]
    losses = torch.stack([_loss(factors.A, part.A) for factors, part in zip(stack.factors, trimmed, strict=True)])
    if options.variant == "released" and options.clamp_level is not None:
        floor = losses.sort(dim=1).values[:, floor_share(options.clamp_level, rank)]
        losses = losses.maximum(floor[:, None])
    shares = options.scale * losses / losses.sum(0).clamp(min=torch.finfo(losses.dtype).tiny)  # (K, r)
    lifted = [part.B * share for part, share in zip(trimmed, shares, strict=True)]
    if options.variant == "released":
        A = options.scale * torch.stack([part.A for part in trimmed]).sum(0)
        return Factors(A, torch.stack(lifted).sum(0))
    A, B = torch.cat([part.A for part in trimmed]), torch.cat(lifted, dim=1)
    return compact(A, B, A.dtype)


def _trimmed(factor: Tensor, keep: float) -> Tensor:
    magnitude = factor.abs()
    place = factor.numel() + floor_share(-keep, factor.numel())  # ⌊(1 − keep)·N⌋, exact for decimals
    return factor * kept(magnitude, find_threshold([magnitude], place))


def _loss(before: Tensor, after: Tensor) -> Tensor:
    """S_k, (r,)."""
    left = after.abs().sum(1)
    return torch.where(left > 0, before.abs().sum(1) / left.clamp(min=torch.finfo(left.dtype).tiny), 0.0)
