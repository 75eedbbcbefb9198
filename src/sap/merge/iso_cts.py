"""Iso-CTS: a common subspace of the sum, completed by each client's own directions, all equally strong.

    Σ_k ΔW_k = U Σ Vᵀ                                              q directions
    s    = round((q − ⌊f q⌋)/K), c = q − K s                       directions per client, and common ones
    R_k  = ΔW_k − U_c U_cᵀ ΔW_k                                    (m, n), its s leading directions
    Û, V̂ = polar factors of [left directions], [right directions]  (m, q), (n, q)
    ΔW*  = (1/K) mean(all singular values) · Û V̂ᵀ                  (m, n), rank ≤ q

Marczak et al., ICML 2025, arXiv:2502.04959. f = 0.8 is published. q is the numerical rank of the sum, see `_spectral`;
a client without s directions of its own gives what it has. Departs from the published sum by 1/K (`average: mean`).
"""

import math
from dataclasses import dataclass

from torch import Tensor

from sap.config import option
from sap.factors import Entry, Factors, inner, map_tensors, shape
from sap.lowrank import Svd
from sap.merge._api import merge_method
from sap.merge._ops import weighted_sum
from sap.merge._spectral import SpectralOptions, assemble, directions, equalised, orthogonalised
from sap.selection import floor_share
from sap.update import Stack


@dataclass(frozen=True)
class Options(SpectralOptions):
    common_fraction: float = option(0.8, "f, share of the directions that is common", low=0, high=1)


# K equal clients give that client with all its singular values equal.
@merge_method("iso_cts", paper="arXiv:2502.04959", family="subspace", options=Options, average=False)
def iso_cts(stack: Stack, options: Options) -> Entry:
    """Iso-CTS: equally strong directions, of the sum and of each client beside it."""
    total, K = weighted_sum(stack, stack.weights * len(stack.clients)), len(stack.clients)
    summed = directions(total, min(shape(total)), stack, options, "iso_cts")
    q = len(summed.S)
    own = round((q - floor_share(options.common_fraction, q)) / K)
    common = summed.first(q - K * own)
    parts = [_beside(entry, common.U, own, stack, options) for entry in stack.entries()] if own else []
    return assemble(equalised(orthogonalised([*parts, common])), total, stack, options)


def _beside(entry: Entry, basis: Tensor, count: int, stack: Stack, options: Options) -> Svd:
    """The leading directions of a client's update outside a subspace of its columns; rounding of the update is none."""
    entry = map_tensors(Tensor.double, entry)
    if isinstance(entry, Factors):
        rest: Entry = Factors(entry.A, entry.B - basis @ (basis.T @ entry.B))
    else:
        rest = entry - basis @ (basis.T @ entry)
    return directions(rest, count, stack, options, "iso_cts", math.sqrt(inner(entry, entry)))
