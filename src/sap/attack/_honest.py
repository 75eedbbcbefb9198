"""What attackers who see every honest upload compute from them: mean, spread and inner products."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sap.factors import add, inner, scaled
from sap.update import Update


def mean_of(honest: Mapping[str, Update]) -> Update:
    """Mean of the clients; factors stay factors."""
    clients = list(honest.values())
    return Update({layer: scaled(add([one[layer] for one in clients]), 1 / len(clients)) for layer in clients[0]})


def spread(honest: Mapping[str, Update], mean: Update, layer: str) -> Tensor:
    """Standard deviation of every entry of one layer, (m, n), with n − 1 below; zero where there is one client.

    One dense client at a time.
    """
    centre = mean.dense(layer)
    squares = torch.zeros_like(centre)
    for update in honest.values():
        difference = update.dense(layer) - centre
        squares.addcmul_(difference, difference)
    return squares.div_(max(len(honest) - 1, 1)).sqrt_()


def products(honest: Mapping[str, Update], other: Update) -> Tensor:
    """<x_i, other> of every client over all layers, (n,) float64."""
    found = [math.fsum(inner(update[layer], other[layer]) for layer in other) for update in honest.values()]
    return torch.tensor(found, dtype=torch.float64)


def gram(honest: Mapping[str, Update]) -> Tensor:
    """<x_i, x_j> over all layers, (n, n) float64."""
    return torch.stack([products(honest, update) for update in honest.values()])
