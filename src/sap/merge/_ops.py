"""Shared steps of merge methods."""

import torch
from torch import Tensor

from sap.errors import SapError
from sap.factors import Entry, add, scaled
from sap.update import Stack


def weighted_sum(stack: Stack, weights: Tensor) -> Entry:
    """Σ_k w_k ΔW_k of one layer, weights (K,). Factors stay factors: one stacked pair of rank Σ r_k, exact."""
    if stack.low_rank:
        return add([scaled(entry, float(weight)) for entry, weight in zip(stack.factors, weights, strict=True)])
    total = torch.zeros_like(stack.delta(0))
    for client, weight in enumerate(weights):
        total.add_(stack.delta(client), alpha=float(weight))
    return total


def common_rank(stack: Stack, method: str) -> int:
    """r of all clients' factors; SapError for a method that pairs rank indices where the clients' ranks differ."""
    ranks = {client: factors.A.shape[0] for client, factors in zip(stack.clients, stack.factors, strict=True)}
    if len(set(ranks.values())) > 1:
        raise SapError(
            f"merge.{method}: layer {stack.layer} needs equal ranks, got {ranks}. "
            "Merge adapters of one rank, or use `mean`."
        )
    return next(iter(ranks.values()))
