"""DELLA: random dropping that spares large entries.

    r[i, j] = rank of |ΔW_k[i, j]| in row i, 0 = smallest … n − 1
    q = density − ε + 2ε r/(n − 1)                                 (m, n), keep probability
    T_k = M_k ΔW_k / q,  M_k ~ Bernoulli(q) per entry              E T_k = ΔW_k
    della: mean of the T_k that have the sign of Σ_k T_k; della_linear: (1/K) Σ_k T_k          (m, n)

Deep et al., 2024, arXiv:2406.11617. density 0.7 is the drop rate 0.3 of their example, ε = 0.15 mergekit's default.
Density 1 keeps everything, whatever ε. `rescale: l1` restores each client's L1 norm instead of dividing entry by
entry (mergekit). `average: sum` does not divide by the number that agree, or by K. `draw` is another mask.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sap.config import option
from sap.merge._api import merge_method
from sap.merge._combine import by_sign, by_sum
from sap.merge._dropping import LEVELS, keep_mask, restore_l1
from sap.update import Stack
from sap.validity import keep_probability


@dataclass(frozen=True)
class Options:
    density: float = option(0.7, "mean keep probability", above=0, high=1)
    epsilon: float = option(0.15, "the smallest entry of a row is kept this much less often, the largest more", low=0)
    rescale: str = option("inverse", "by 1/q per entry, or to the client's L1 norm", choices=("inverse", "l1"))
    average: str = option("mean", "mean of the clients, or their sum", choices=("mean", "sum"))
    draw: int = option(0, "which random draw", low=0)


# Both: each of K equal clients loses other entries.
@merge_method(
    "della",
    paper="arXiv:2406.11617",
    family="task vectors",
    options=Options,
    needs={"rng"},
    check=keep_probability,
    average=False,
)
def della(stack: Stack, options: Options) -> Tensor:
    """Random dropping that spares large entries, then the sign election of TIES."""
    return by_sign(_dropped(stack, options), average=options.average)


@merge_method(
    "della_linear",
    paper="arXiv:2406.11617",
    family="task vectors",
    options=Options,
    needs={"rng"},
    check=keep_probability,
    average=False,
)
def della_linear(stack: Stack, options: Options) -> Tensor:
    """Mean of the clients after random dropping that spares large entries."""
    return by_sum(_dropped(stack, options), options.average)


def _dropped(stack: Stack, options: Options) -> Iterator[Tensor]:
    """T_k of every client, one at a time."""
    for k, client in enumerate(stack.clients):
        delta = stack.delta(k)
        levels = _levels(options, delta.shape[1]).to(delta.device)
        order = _ascending(delta.abs())
        by_entry = torch.empty_like(delta).scatter_(1, order, levels.to(delta).expand_as(delta))
        part = delta * keep_mask(stack.extras["rng"](f"{client}/{options.draw}"), delta, by_entry)
        yield restore_l1(part, delta) if options.rescale == "l1" else part.div_(by_entry).mul_(LEVELS)


def _levels(options: Options, n: int) -> Tensor:
    """2¹⁶ · q by rank, (n,)."""
    epsilon = options.epsilon if options.density < 1 else 0.0
    steps = torch.linspace(-1, 1, n, dtype=torch.float64) if n > 1 else torch.zeros(1, dtype=torch.float64)
    return ((options.density + epsilon * steps) * LEVELS).round().clamp(1, LEVELS)


def _ascending(size: Tensor) -> Tensor:
    """Positions of every row's entries in ascending order; numpy sorts several times faster than torch."""
    return size.argsort(dim=1) if size.is_cuda else torch.from_numpy(np.argsort(size.numpy(), axis=1))
