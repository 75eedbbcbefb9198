"""Spectra of one layer: SVD, rank, the best approximation of a given rank, and the basis that several clients share.

Everything is computed in float64. Factors never become dense: with B = Q_B R_B and Aᵀ = Q_A R_A, the SVD of the
r × r matrix R_B R_Aᵀ gives that of ΔW. A dense ΔW goes through the Gram of its smaller side, several times faster than
an SVD; it resolves singular values down to 1e-8 of the largest, and TOLERANCE, below which a direction is rounding and
not signal, lies far above.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sap.factors import Entry, Factors, dense, map_tensors, tensors_of

TOLERANCE = 1e-5  # relative to the largest singular value; a product B · A rounded to float32 has directions below 1e-6


class Svd(NamedTuple):
    """ΔW = U diag(S) Vᵀ in float64, S descending."""

    U: Tensor  # (m, q)
    S: Tensor  # (q,)
    V: Tensor  # (n, q)

    def first(self, count: int) -> "Svd":
        """The `count` leading directions, or all there are."""
        return Svd(self.U[:, :count], self.S[:count], self.V[:, :count])

    def significant(self, largest: float | None = None) -> "Svd":
        """The directions above TOLERANCE times `largest` (default: the largest singular value)."""
        return self.first(_count(self.S, TOLERANCE * (self.S[:1] if largest is None else largest)))


def svd(entry: Entry) -> Svd:
    """Thin SVD: min(m, n) directions of a dense entry, at most r of Factors; some may be numerically zero."""
    entry = map_tensors(Tensor.double, entry)
    if isinstance(entry, Factors):
        left, left_core = torch.linalg.qr(entry.B)
        right, right_core = torch.linalg.qr(entry.A.T)
        U, S, Vh = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
        return Svd(left @ U, S, right @ Vh.T)
    if entry.shape[0] < entry.shape[1]:
        V, S, U = svd(entry.T)
        return Svd(U, S, V)
    S, V = _eigen(entry.T @ entry)
    return Svd(entry @ V / S.clamp(min=torch.finfo(S.dtype).tiny), S, V)


def singular_values(entry: Entry) -> Tensor:
    """Singular values of one layer, descending, float64."""
    entry = map_tensors(Tensor.double, entry)
    if isinstance(entry, Factors):
        cores = [torch.linalg.qr(tensor, mode="r").R for tensor in (entry.B, entry.A.T)]
        return torch.linalg.svdvals(cores[0] @ cores[1].T)
    gram = entry.T @ entry if entry.shape[0] >= entry.shape[1] else entry @ entry.T
    return torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).sqrt()


def rank_of(entry: Entry, tolerance: float = TOLERANCE) -> int:
    """Numerical rank: singular values above `tolerance` times the largest one."""
    values = singular_values(entry)
    return _count(values, tolerance * values[:1])


def truncate(entry: Entry, rank: int) -> tuple[Factors, float]:
    """The best approximation of at most this rank (Eckart-Young), and the share of ‖ΔW‖² that it loses.

    Singular values go into B. Factors of no higher rank come back as they are.
    """
    if isinstance(entry, Factors) and entry.A.shape[0] <= rank:
        return entry, 0.0
    full, dtype = svd(entry), tensors_of(entry)[0].dtype
    kept, energies = full.first(rank), full.S**2
    total = float(energies.sum())
    lost = float(energies[rank:].sum()) / total if total else 0.0
    return Factors(kept.V.T.to(dtype), (kept.U * kept.S).to(dtype)), lost


def common_basis(entries: Iterable[Entry]) -> Tensor:
    """Left singular vectors of [ΔW_1 … ΔW_K], (m, q) float64: orthonormal, and every ΔW_k = U Uᵀ ΔW_k.

    Numerically zero directions are left out, so that equal clients, zero clients and a shared factor do no harm.
    All entries are Factors, or all are dense and taken one at a time.
    """
    blocks: list[Tensor] = []
    gram: Tensor | float = 0.0
    for entry in entries:
        if isinstance(entry, Factors):  # ΔW_k = B R_Aᵀ Q_Aᵀ, and the orthonormal Q_Aᵀ changes no left singular vector
            blocks.append(entry.B.double() @ torch.linalg.qr(entry.A.double().T, mode="r").R.T)
        else:
            gram = entry.double() @ entry.double().T + gram
    if blocks:
        return svd(torch.cat(blocks, dim=1)).significant().U
    values, vectors = _eigen(torch.as_tensor(gram))
    return vectors[:, : _count(values, TOLERANCE * values[:1])]


def compact(A: Tensor, B: Tensor, dtype: torch.dtype) -> Entry:
    """B · A as Factors while they are smaller than the dense (m, n), as in `sap.factors.add`; else dense."""
    rank, m, n = A.shape[0], B.shape[0], A.shape[1]
    product = Factors(A.to(dtype), B.to(dtype))
    return product if rank * (m + n) < m * n else dense(product)


def _eigen(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values and vectors, descending, from a Gram matrix."""
    values, vectors = torch.linalg.eigh(gram)
    return values.flip(0).clamp(min=0).sqrt(), vectors.flip(1)


def _count(values: Tensor, floor: Tensor | float) -> int:
    return int((values > floor).sum())
