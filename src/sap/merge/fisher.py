"""Fisher merging: a mean per entry, weighted by how much each client's predictions depend on that entry.

    F̂_k = F_k + φ_k                                                 (m, n), F_k diagonal Fisher information of client k
    ΔW* = Σ_k c_k F̂_k ∘ ΔW_k / Σ_k c_k F̂_k                          (m, n)

c_k = 1/(‖F_k‖₂ + φ_k) with `normalise` (norm over all layers), else 1. φ_k is `floor` in units of the mean entry of F_k
over all layers, or `floor` itself (`absolute`: fusion_bench, 1e-6). Where no client has any Fisher, ΔW* is 0.
Matena & Raffel, NeurIPS 2022, arXiv:2111.09832 (mmatena/model_merging; fusion_bench `fisher_merging`). On updates
instead of weights, which is the same: W0 cancels. F_k is what `sap.measure.statistics` computes.

Departures: a relative floor by default, because a Fisher value of CLIP can lie far below 1e-6, where an absolute floor
makes this the plain mean; the authors' floor holds for the target model only. `normalise` is on as in fusion_bench.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.merge._api import merge_method
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    normalise: bool = option(True, "divide each client's Fisher by its norm over all layers")
    floor: float = option(1e-6, "added to every Fisher value", low=0)
    floor_unit: str = option(
        "relative", "`relative` to the client's mean Fisher value, or `absolute`", choices=("relative", "absolute")
    )


@merge_method(
    "fisher",
    paper="arXiv:2111.09832",
    family="statistics",
    options=Options,
    scope="model",
    needs={"fisher"},
    uploads=lambda options, m, n, r: m * n,
)
def fisher(stacks: Mapping[str, Stack], options: Options) -> dict[str, Tensor]:
    """Fisher merging: a mean per entry, weighted by the clients' Fisher information."""
    n_clients = len(stacks[next(iter(stacks))].clients)
    weighing = [_weighing(stacks, client, options) for client in range(n_clients)]
    return {layer: _merge(stacks[layer], weighing) for layer in stacks}


def _weighing(stacks: Mapping[str, Stack], client: int, options: Options) -> tuple[float, float]:
    """(c_k, φ_k) of one client."""
    if not options.normalise and options.floor_unit == "absolute":
        return 1.0, options.floor
    squares = total = count = 0.0
    for layer in stacks:
        information = stacks[layer].extras["fisher"](client)
        squares += float(torch.linalg.vector_norm(information, dtype=torch.float64)) ** 2
        total += float(information.sum(dtype=torch.float64))
        count += information.numel()
    floor = options.floor * (total / count if options.floor_unit == "relative" else 1.0)
    size = squares**0.5 + floor
    return (1 / size if options.normalise and size else 1.0), floor


def _merge(stack: Stack, weighing: list[tuple[float, float]]) -> Tensor:
    for client, (factor, floor) in enumerate(weighing):
        delta = stack.delta(client)
        weight = stack.extras["fisher"](client).to(delta).add(floor).mul_(factor)
        if client == 0:
            weights, merged = weight, weight * delta
        else:
            weights.add_(weight)
            merged.addcmul_(weight, delta)
    return merged.div_(weights.clamp_(min=torch.finfo(weights.dtype).tiny))
