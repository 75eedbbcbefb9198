"""Means on the sphere: average the directions, then give the result the mean length.

    u_k = ΔW_k / ‖ΔW_k‖_F;  ℓ = Σ_k w_k ‖ΔW_k‖_F
    karcher:    μ = argmin over unit μ of Σ_k w_k angle(μ, u_k)²   (Riemannian centre of mass)
    multislerp: μ = Σ_k w_k u_k / ‖Σ_k w_k u_k‖
    ΔW* = ℓ μ                                                      (m, n), factors stay factors

Karcher, Comm. Pure Appl. Math. 1977; `karcher` and `multislerp` of mergekit (Goddard et al., EMNLP 2024,
arXiv:2403.13257), per layer. `karcher` starts at multislerp's μ and takes at most 10 steps μ ← exp_μ(Σ_k w_k log_μ u_k)
until one is shorter than 1e-5; w = 1/K over the clients with an update. mergekit's `multislerp` also makes one step
in the tangent space at its μ, but there the weighted tangents always sum to zero.
Both results are combinations of the clients, so the iteration runs on their K × K cosines and no update is made dense.
Where directions cancel (u and −u) the mean has no direction: zero, where mergekit takes the first client or stops.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._inner_products import combine, cosines, inner_products, norms_of
from sap.update import Stack


@dataclass(frozen=True)
class MultiSlerp:
    weights: str = option("uniform", "w: 1/K, or shares by sample count", choices=("uniform", "samples"))


@dataclass(frozen=True)
class Karcher:
    iterations: int = option(10, "most steps", low=1)
    tolerance: float = option(1e-5, "stop after a step shorter than this, in radians", low=0)


@merge_method(
    "multislerp",
    paper="arXiv:2403.13257",
    family="average",
    options=MultiSlerp,
    needs={"counts": {"weights": ("samples",)}},
)
def multislerp(stack: Stack, options: MultiSlerp) -> Entry:
    """Mean direction of the clients at their mean length (mergekit's Multi-SLERP)."""
    entries = list(stack.entries())
    products = inner_products(entries)
    n_clients = len(entries)
    uniform = torch.full((n_clients,), 1 / n_clients, dtype=torch.float64)
    weights = stack.weights if options.weights == "samples" else uniform
    return _at_mean_length(entries, _mean_direction(cosines(products)[0], weights), weights, norms_of(products)[0])


@merge_method("karcher", paper="Karcher, Comm. Pure Appl. Math. 1977", family="average", options=Karcher)
def karcher(stack: Stack, options: Karcher) -> Entry:
    """Centre of mass of the clients' directions on the sphere, at their mean length."""
    entries = list(stack.entries())
    products = inner_products(entries)
    cosine, norms = cosines(products)[0], norms_of(products)[0]
    shares = stack.weights.to(norms) * (norms > 0)
    shares = shares / shares.sum().clamp(min=1e-300)
    direction = _mean_direction(cosine, shares)
    for _ in range(options.iterations):
        towards = (cosine @ direction).clamp(-1, 1)
        pull = shares / torch.sinc(towards.acos() / torch.pi).clamp(min=1e-6)  # θ / sin θ; any way from an antipode
        step = pull - (pull @ towards) * direction
        length = _length(step, cosine)
        if length < options.tolerance:
            break
        direction = length.cos() * direction + length.sin() / length * step
        direction = direction / _length(direction, cosine)
    return _at_mean_length(entries, direction, stack.weights.to(norms), norms)


def _mean_direction(cosine: Tensor, weights: Tensor) -> Tensor:
    """Coefficients (K,) on u of the unit vector along Σ_k w_k u_k; zeros where the directions cancel."""
    weights = weights.to(cosine)
    length = _length(weights, cosine)
    return weights / length if length > 1e-8 else torch.zeros_like(weights)


def _length(coefficients: Tensor, cosine: Tensor) -> Tensor:
    return (coefficients @ cosine @ coefficients).clamp(min=0).sqrt()


def _at_mean_length(entries: list[Entry], direction: Tensor, weights: Tensor, norms: Tensor) -> Entry:
    """Σ_k direction_k u_k times Σ_k w_k ‖ΔW_k‖."""
    mean_length = weights.to(norms) @ norms
    return combine(entries, (mean_length * direction / torch.where(norms > 0, norms, 1))[None])
