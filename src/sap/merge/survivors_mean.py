"""Survivors' mean: each entry is averaged over the clients that hold it.

    ΔW*[i, j] = Σ_k w_k ΔW_k[i, j] / Σ_k w_k [ΔW_k[i, j] ≠ 0]       (m, n), 0 where nobody holds it

TIES's disjoint mean (Yadav et al., NeurIPS 2023, arXiv:2306.01708) without its election: after pruning, an entry that
one client kept is not divided by K. On unpruned updates it is the mean. `min_votes` drops entries that fewer clients
hold. Entries are zero after pruning in space `delta`; pruned factors rarely make a product zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.merge._api import merge_method
from sap.update import Stack
from sap.validity import enough_votes


@dataclass(frozen=True)
class Options:
    min_votes: int = option(1, "entries that fewer clients hold become zero", low=1)
    weights: str = option("uniform", "w: equal, or shares by sample count", choices=("uniform", "samples"))


@merge_method(
    "survivors_mean",
    paper="arXiv:2306.01708",
    family="average",
    options=Options,
    needs={"counts": {"weights": ("samples",)}},
    check=enough_votes,
)
def survivors_mean(stack: Stack, options: Options) -> Tensor:
    """Mean over the clients whose entry is not zero, entry by entry."""
    total = torch.zeros_like(stack.delta(0))
    shares, votes = torch.zeros_like(total), torch.zeros_like(total)
    for client, weight in enumerate(stack.weights.tolist()):
        delta = stack.delta(client)
        weight = weight if options.weights == "samples" else 1.0
        held = delta.sign().abs_()
        total.add_(delta, alpha=weight)
        shares.add_(held, alpha=weight)
        votes.add_(held)
    total.div_(shares.clamp_(min=torch.finfo(total.dtype).tiny))  # nobody holds it: 0 / tiny = 0
    return total.mul_(votes >= options.min_votes) if options.min_votes > 1 else total
