"""Shared steps of the methods that fit coefficients of the clients to the anchors by gradient descent."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sap.merge._anchored import client_update
from sap.update import Stack, Update
from sap.update import stacks as kept_stacks

Coefficients = dict[str, Tensor]  # layer -> float64, in the method's own shape
Slopes = Callable[[Coefficients], Coefficients]
DECAY = 0.01  # of AdamW in torch, which the authors' programs leave as it is


def clients_of(stacks: Mapping[str, Stack]) -> list[Update]:
    """The clients' whole updates, each read once: pruned clients are not pruned again at every step."""
    first = stacks[next(iter(stacks))]
    held = dict(stacks)
    return [client_update(held, client) for client in range(len(first.clients))]


def stacked(updates: list[Update]) -> dict[str, Stack]:
    """Layer -> Stack of updates that are held in memory, with nothing else in it."""
    return kept_stacks({str(client): update for client, update in enumerate(updates)})


def fitted(start: Coefficients, slopes: Slopes, steps: int, learning_rate: float, decay: float = DECAY) -> Coefficients:
    """`start` after AdamW steps along `slopes`, the gradient of the method's loss at the coefficients it is given."""
    weights = {layer: values.clone() for layer, values in start.items()}
    optimiser = torch.optim.AdamW(list(weights.values()), lr=learning_rate, weight_decay=decay)
    for _ in range(steps):
        for layer, slope in slopes(weights).items():
            weights[layer].grad = slope
        optimiser.step()
    return weights
