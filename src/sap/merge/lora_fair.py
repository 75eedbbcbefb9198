"""LoRA-FAIR: the mean of A, and a mean of B corrected until their product points where the mean update does.

    Ā = (1/K) Σ_k A_k, B̄ = (1/K) Σ_k B_k, T = (1/K) Σ_k B_k A_k
    X  = argmin_X 1 − cos((B̄ + X) Ā, T) + λ ‖X‖²                   (m, r), the cosine over all entries of the layer
    ΔW* = (B̄ + X) Ā                                                (m, n), rank r

The mean of the products where the clients share A, and in general an approximation of rank r to it: its direction is
corrected, its norm stays near that of `product_of_means`. Bian et al., ICCV 2025, arXiv:2411.14961: 1000 steps of
gradient descent with rate 0.01 from X = 0, λ = 0.01. Never dense: all that is needed are T Āᵀ (m, r), Ā Āᵀ (r, r),
‖T‖.

Departures: clients weigh 1/K, not by sample count; the LoRA scale is part of B, so λ and the rate count on α/r times
the paper's B. Rate and λ are absolute numbers, so twice the update is not twice the result. Read from a
re-implementation (another author's server for this method); there is no official code that was found.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Factors, add, inner, scaled
from sap.merge._api import merge_method
from sap.merge._ops import common_rank
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    steps: int = option(1000, "steps of gradient descent", low=0)
    learning_rate: float = option(0.01, "of the steps", above=0)
    penalty: float = option(0.01, "λ, on the squared norm of the correction", low=0)


# Not homogeneous: rate and penalty are absolute numbers.
@merge_method(
    "lora_fair",
    paper="arXiv:2411.14961",
    family="average",
    options=Options,
    space="factors",
    homogeneous=False,
    checked="automatic differentiation of the dense loss in a re-implementation, same rate and steps",
)
def lora_fair(stack: Stack, options: Options) -> Factors:
    """LoRA-FAIR: mean of A, mean of B corrected towards the direction of the mean update."""
    common_rank(stack, "lora_fair")
    K = len(stack.factors)
    pairs = [Factors(factors.A.double(), factors.B.double()) for factors in stack.factors]
    A = torch.stack([pair.A for pair in pairs]).mean(0)
    B = torch.stack([pair.B for pair in pairs]).mean(0)
    mean = scaled(add(list(pairs)), 1 / K)
    towards = sum((pair.B @ (pair.A @ A.T) for pair in pairs), torch.zeros_like(B)) / K  # T Āᵀ
    X, gram, length = torch.zeros_like(B), A @ A.T, inner(mean, mean) ** 0.5
    for _ in range(options.steps):
        slope = 2 * options.penalty * X - _cosine_slope(B + X, gram, towards, length)
        X = X - options.learning_rate * slope
    dtype = stack.factors[0].A.dtype
    return Factors(A.to(dtype), (B + X).to(dtype))


def _cosine_slope(B: Tensor, gram: Tensor, towards: Tensor, length: float) -> Tensor:
    """Gradient of cos(B Ā, T) by B, (m, r); zero where B Ā or T is."""
    across = B @ gram
    norm = (across * B).sum().clamp(min=0).sqrt()
    if norm == 0 or length == 0:
        return torch.zeros_like(B)
    return (towards - (towards * B).sum() / norm**2 * across) / (norm * length)
