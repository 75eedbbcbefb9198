"""One layer of an update: low-rank factors or a dense matrix, and the algebra that both share.

What stays low-rank is not made dense before someone needs entries: sums stack factors, norms and inner products
come from r × r Grams (in float64, so that nearly cancelling factors lose nothing).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Factors(NamedTuple):
    """ΔW = B · A of one layer; the LoRA scale is folded into B."""

    A: Tensor  # (r, n)
    B: Tensor  # (m, r)


Entry = Factors | Tensor


def shape(entry: Entry) -> tuple[int, int]:
    """(m, n) of one layer's entry."""
    m, n = (entry.B.shape[0], entry.A.shape[1]) if isinstance(entry, Factors) else entry.shape
    return m, n


def dense(entry: Entry) -> Tensor:
    """ΔW as a dense (m, n) tensor."""
    return entry.B @ entry.A if isinstance(entry, Factors) else entry


def as_factors(entry: Entry) -> Factors:
    """The factors of one layer's entry, where it has some. TypeError for a dense one, which no caller may hand in."""
    if not isinstance(entry, Factors):
        raise TypeError(f"expected factors, got a dense {tuple(entry.shape)}")
    return entry


def scaled(entry: Entry, scale: float) -> Entry:
    """c · ΔW of one layer."""
    return Factors(entry.A, entry.B * scale) if isinstance(entry, Factors) else entry * scale


def add(entries: list[Entry]) -> Entry:
    """Σ ΔW_k of one layer: factors stacked to rank Σ r_k while that is smaller than a dense (m, n), else dense."""
    if len(entries) == 1:
        return entries[0]
    pairs = [entry for entry in entries if isinstance(entry, Factors)]
    if len(pairs) == len(entries):
        stacked = Factors(torch.cat([pair.A for pair in pairs]), torch.cat([pair.B for pair in pairs], dim=1))
        (m, n), rank = shape(stacked), stacked.A.shape[0]
        return stacked if rank * (m + n) < m * n else dense(stacked)
    total = dense(entries[0]).clone()
    for entry in entries[1:]:
        total += dense(entry)
    return total


def inner(a: Entry, b: Entry) -> float:
    """<ΔW_a, ΔW_b> of one layer in float64; two factor pairs meet in r × r: tr((B_aᵀB_b)(A_bA_aᵀ))."""
    if isinstance(a, Factors) and isinstance(b, Factors):
        (A, B), (C, D) = map_tensors(Tensor.double, a), map_tensors(Tensor.double, b)
        return float(((B.T @ D) * (A @ C.T)).sum())
    if isinstance(a, Factors):
        return float(((a.B.double().T @ dense(b).double()) * a.A.double()).sum())
    if isinstance(b, Factors):
        return inner(b, a)
    x = a.double().flatten()
    return float(torch.dot(x, x if a is b else b.double().flatten()))


def is_finite(tensor: Tensor) -> bool:
    """True without NaN and Inf. One fast sum shows it; only a sum that overflowed needs the slow look at each entry."""
    return bool(tensor.sum().isfinite() or tensor.isfinite().all())


def map_tensors(function: Callable[[Tensor], Tensor], entry: Entry) -> Entry:
    """`function` applied to the matrix, or to both factors."""
    return Factors(function(entry.A), function(entry.B)) if isinstance(entry, Factors) else function(entry)


def tensors_of(entry: Entry) -> tuple[Tensor, ...]:
    """The matrix, or both factors (A, B)."""
    return tuple(entry) if isinstance(entry, Factors) else (entry,)
