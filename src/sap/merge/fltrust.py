"""FLTrust with a root update g: the server's own step on the anchors (minus the gradient of their loss at zero-shot).

    t_k = max(0, cos(x_k, g))
    ΔW* = Σ_k t_k (ℓ / ‖x_k‖) x_k / Σ_k t_k                        zero (zero-shot) where all t_k are zero

Cao et al., NDSS 2021, arXiv:2012.13995. `unit` is what x_k and g stand for, a ladder from coarse to fine trust:

    client   the whole model, as published: one t_k per client
    layer    one layer: one t_k per client and layer, ℓ and ‖x_k‖ of the layer
    weight   one entry: there the cosine is a sign, so t_k[i, j] = 1 where x_k and g agree in sign, else 0. ℓ / ‖x_k‖
             is that of the whole model. It keeps what the anchors' loss wants to first order: SAP's signed,
             hard-thresholded cousin

`norm: root` is ℓ = ‖g‖, as published. The default `clients` is the median of ‖x_k‖: a gradient's length is no
update's length, so with it the result lives on the scale of the mean; the median, because one client could move a
mean of norms at will, which ℓ is there to prevent. A client of norm zero has no trust.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry, inner
from sap.merge._api import merge_method
from sap.merge._robust import by_coordinate, typical, weighted_layer, weighted_model
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    unit: str = option(
        "client",
        "what is trusted: a whole client, each of its layers, or weights",
        choices=("client", "layer", "weight"),
    )
    norm: str = option(
        "clients",
        "length of a trusted update: median of the clients' norms, or the root's",
        choices=("clients", "root"),
    )


# Equal clients that point away from the root merge to zero.
@merge_method(
    "fltrust",
    paper="arXiv:2012.13995",
    family="robust",
    options=Options,
    scope="model",
    needs={"root"},
    average=False,
)
def fltrust(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """FLTrust: clients weighted by their cosine with the server's own step on the anchors."""
    found = {layer: products(stacks[layer]) for layer in stacks}
    if options.unit == "layer":
        return {layer: weighted_layer(stacks[layer], _weights(table, options.norm)) for layer, table in found.items()}
    whole = torch.stack(list(found.values())).sum(0)
    if options.unit == "client":
        return weighted_model(stacks, _weights(whole, options.norm))
    factors = _rescale(whole, options.norm)
    return {layer: _agreeing(stacks[layer], factors) for layer in stacks}


def products(stack: Stack) -> Tensor:
    """<x_k, x_k>, <x_k, g> and <g, g> of one layer, (3, K) float64."""
    root = stack.extras["root"].double()
    root_square = inner(root, root)
    found = [(inner(entry, entry), inner(entry, root), root_square) for entry in stack.entries()]
    return torch.tensor(found, dtype=torch.float64).T


def trust(table: Tensor) -> Tensor:
    """max(0, cos(x_k, g)) from `products`, (K,); 0 where x_k or g is zero."""
    squares, cross, root = table
    lengths = (squares.clamp(min=0) * root).sqrt()
    return torch.where(lengths > 0, cross / lengths, 0.0).clamp(min=0)


def _rescale(table: Tensor, norm: str) -> Tensor:
    """ℓ / ‖x_k‖, (K,); 0 where x_k is zero."""
    lengths, root = table[0].clamp(min=0).sqrt(), table[2, 0].sqrt()
    return torch.where(lengths > 0, (root if norm == "root" else typical(lengths)) / lengths, 0.0)


def _weights(table: Tensor, norm: str) -> Tensor:
    trusted = trust(table)
    return trusted * _rescale(table, norm) / (trusted.sum() or 1.0)


def _agreeing(stack: Stack, factors: Tensor) -> Tensor:
    """Mean of the rescaled entries that agree in sign with the root, over the clients that agree."""
    signs = stack.extras["root"].sign()

    def reduce(values: Tensor, rows: slice) -> Tensor:
        agreeing = values.mul_(signs[rows]).clamp_(min=0)
        count = (agreeing > 0).sum(0).clamp_(min=1)
        return torch.tensordot(factors.to(values), agreeing, 1).div_(count).mul_(signs[rows])

    return by_coordinate(stack, reduce)
