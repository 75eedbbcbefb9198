"""Inner products of K clients' updates, and their combinations, per unit: a whole layer, each row or each column.

Methods on the sphere (SLERP, Karcher mean, Model Stock) give a combination Σ_k c_k ΔW_k whose coefficients depend on
inner products alone, so factors stay factors: their dense (m, n) is never formed.
"""

import torch
from torch import Tensor

from sap.factors import Entry, Factors, add, dense

UNITS = ("layer", "row", "column")
ROWS = 256  # of dense clients that are in float64 at a time


def inner_products(entries: list[Entry], unit: str = "layer") -> Tensor:
    """<ΔW_j, ΔW_k> of every unit, (u, K, K) in float64; u = 1 for the layer, m for rows, n for columns."""
    if unit == "column":
        return inner_products([_transposed(entry) for entry in entries], "row")
    pairs = [entry for entry in entries if isinstance(entry, Factors)]
    rows = _of_factors(pairs) if pairs else _of_dense([dense(entry) for entry in entries])
    return rows if unit == "row" else rows.sum(0, keepdim=True)


def cosines(products: Tensor) -> Tensor:
    """Cosines between clients from their inner products, (u, K, K); 0 where a unit of a client is zero."""
    norms = norms_of(products)
    lengths = norms[:, :, None] * norms[:, None, :]
    return (products / torch.where(lengths > 0, lengths, 1)).clamp(-1, 1)


def norms_of(products: Tensor) -> Tensor:
    """Norm of every client's units, (u, K)."""
    return products.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()


def combine(entries: list[Entry], coefficients: Tensor, unit: str = "layer") -> Entry:
    """Σ_k c_k ΔW_k with coefficients (u, K); factors stay factors."""
    scales = coefficients.T[:, None, :] if unit == "column" else coefficients.T[:, :, None]  # (K, 1, u) or (K, u, 1)
    pairs = [entry for entry in entries if isinstance(entry, Factors)]
    if pairs and unit == "column":
        return add([Factors(pair.A * scale.to(pair.A), pair.B) for pair, scale in zip(pairs, scales, strict=True)])
    if pairs:
        return add([Factors(pair.A, pair.B * scale.to(pair.B)) for pair, scale in zip(pairs, scales, strict=True)])
    total = torch.zeros_like(dense(entries[0]))
    for delta, scale in zip(map(dense, entries), scales, strict=True):
        total.addcmul_(delta, scale.to(delta))
    return total


def _of_factors(entries: list[Factors]) -> Tensor:
    """(m, K, K): row i of B_j A_j times row i of B_k A_k, through the core [A_1; …; A_K] [A_1; …; A_K]ᵀ."""
    A = torch.cat([entry.A for entry in entries]).double()
    B = torch.cat([entry.B for entry in entries], dim=1).double()
    ranks = [entry.A.shape[0] for entry in entries]
    core = (A @ A.T).split(ranks)
    owner = torch.block_diag(*[A.new_ones(rank, 1) for rank in ranks])  # (Σ r_k, K)
    return torch.stack([B * (own @ rows) @ owner for own, rows in zip(B.split(ranks, dim=1), core, strict=True)], dim=1)


def _of_dense(entries: list[Tensor]) -> Tensor:
    """(m, K, K), some rows at a time."""
    chunks = zip(*[entry.split(ROWS) for entry in entries], strict=True)
    stacked = (torch.stack(chunk, dim=1).double() for chunk in chunks)  # (rows, K, n)
    return torch.cat([rows @ rows.mT for rows in stacked])


def _transposed(entry: Entry) -> Entry:
    return Factors(entry.B.T, entry.A.T) if isinstance(entry, Factors) else entry.T
