"""PCB-Merging: entries weighed by how large they are in their client and how well they agree with the others.

    c_k  = |ΔW_k|, clamped to its 1st and 99th percentile          over the whole model, as everything below
    x_k  = sign(ΔW_k) ∘ (c_k − min c_k)/(max c_k − min c_k)        within −1 … 1
    b_k  = exp(K x_k²) ∘ Σ_j tanh(x_k ∘ x_j)                       intra-balancing times inter-balancing
    s_k  = (max(b_k, t_k) − t_k)/(max b_k − t_k)                   all but the top `ratio` of b_k lie at or below t_k
    ΔW*  = Σ_k s_k ∘ sign(ΔW_k) ∘ c_k / Σ_k s_k                    (m, n), 0 where nobody has a score

Du et al., NeurIPS 2024, arXiv:2410.02396; code read: github.com/VirtualSpaceman/score_cvpr26, src/merging/pcb.py
(ratio and λ = 1 as there). A weighted mean, so it lies on the scale of the clients. Departures: places of percentiles
are exact for the decimals as written; a client without an update has x = 0, where the code divides by zero.

Every client meets every other one in each entry: K² passes. Of dense matrices one client's are in memory at a time
for the percentiles, and one layer of three for the scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.merge._api import merge_method
from sap.selection import find_threshold, floor_share
from sap.update import Stack

CLAMPED = 0.01  # share of the smallest and of the largest magnitudes

Range = tuple[float, float]


@dataclass(frozen=True)
class Options:
    ratio: float = option(0.05, "share of entries of each client that has a score", above=0, high=1)


# K equal clients give that client's entries with a score, the others 0.
@merge_method(
    "pcb",
    paper="arXiv:2410.02396",
    family="task vectors",
    options=Options,
    scope="model",
    average=False,
    checked="VirtualSpaceman/score_cvpr26, src/merging/pcb.py",
)
def pcb(stacks: Mapping[str, Stack], options: Options) -> dict[str, Tensor]:
    """PCB-Merging: mean of the clients, entry by entry weighed by magnitude and agreement."""
    clients = range(len(stacks[next(iter(stacks))].clients))
    sizes = [_extremes([stack.delta(k).abs() for stack in stacks.values()]) for k in clients]
    scores = [_scored([_balance(stack, k, sizes) for stack in stacks.values()], options.ratio) for k in clients]
    return {layer: _merged(stacks[layer], sizes, scores) for layer in stacks}


def _extremes(magnitudes: list[Tensor]) -> Range:
    """The 1st and the 99th percentile of a client's magnitudes."""
    total = sum(magnitude.numel() for magnitude in magnitudes)
    places = (floor_share(CLAMPED, total) + 1, max(1, total + floor_share(-CLAMPED, total)))
    low, high = (find_threshold(magnitudes, place).value for place in places)
    return low, high


def _scored(balances: list[Tensor], ratio: float) -> Range:
    """t_k and max b_k."""
    total = sum(balance.numel() for balance in balances)
    place = min(total, total + floor_share(-ratio, total) + 1)
    return find_threshold(balances, place).value, max(float(balance.max()) for balance in balances)


def _balance(stack: Stack, client: int, sizes: list[Range]) -> Tensor:
    """b_k of one layer."""
    own = _normalised(stack.delta(client), sizes[client])
    inter = torch.zeros_like(own)
    for other in range(len(sizes)):
        inter += (own * _normalised(stack.delta(other), sizes[other])).tanh_()
    return inter * (len(sizes) * own**2).exp_()


def _normalised(delta: Tensor, size: Range) -> Tensor:
    """x_k of one layer."""
    return delta.sign() * _within(delta.abs(), size)


def _within(values: Tensor, ends: Range) -> Tensor:
    """0 at or below the first end, 1 at or above the second; 0 where both ends are one."""
    low, high = ends
    return (values.clamp(low, high) - low) / (high - low) if high > low else torch.zeros_like(values)


def _merged(stack: Stack, sizes: list[Range], scores: list[Range]) -> Tensor:
    above, below = torch.zeros_like(stack.delta(0)), torch.zeros_like(stack.delta(0))
    for client, size in enumerate(sizes):
        delta = stack.delta(client)
        share = _within(_balance(stack, client, sizes), scores[client])
        above += share * delta.sign() * delta.abs().clamp(*size)
        below += share
    return above / below.clamp(min=1e-12)
