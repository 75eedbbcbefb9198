"""FedRPCA: what the clients' factors have in common is averaged, what only few entries of few clients have is scaled.

    M      = [vec X_1, …, vec X_K]                                 (d, K), X = B of a layer, and A apart from it
    L, S   = argmin ‖L‖_* + λ ‖S‖_1  where L + S = M               λ = 1/√max(d, K): robust PCA
    X*     = mean over columns of L + β · mean over columns of S
    ΔW*    = B* A*                                                 (m, n), rank r

β = 1 is `product_of_means`, with its cross terms; β = 0 the common part alone; β > 1, as in the paper, lifts what is
peculiar to a client. Solved by ADMM with a fixed penalty μ = dK/(4 ‖M‖_1):

    L ← M − S + Y/μ, its singular values lowered by 1/μ
    S ← M − L + Y/μ, its entries moved by λ/μ towards zero
    Y ← Y + μ(M − L − S)

Jhunjhunwala et al., arXiv:2506.01194; robust PCA: Candès et al., Journal of the ACM 2011. Departures: the paper's
abstract was read and no code is public, so β = 2 is a guess and an adaptive β is left out; the paper decomposes
changes of the factors since the round began, and a one-shot upload does not tell A's start, so A is decomposed whole:
where all start alike, their start goes into L as far as no entry of it is large beside the others.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Factors
from sap.merge._api import merge_method
from sap.merge._ops import common_rank
from sap.update import Stack

STEPS, TOLERANCE = 500, 1e-7  # at most, and the share of ‖M‖ that M − L − S may have


@dataclass(frozen=True)
class Options:
    beta: float = option(2.0, "β, weight of what is peculiar to clients; 1 is product_of_means, 0 drops it", low=0)


# K equal clients: their large entries count as peculiar, and β lifts them.
@merge_method(
    "fedrpca",
    paper="arXiv:2506.01194",
    family="average",
    options=Options,
    space="factors",
    average=False,
    checked="the optimality conditions of robust PCA; a planted common and sparse part; β = 1 against product_of_means",
)
def fedrpca(stack: Stack, options: Options) -> Factors:
    """FedRPCA: product of mean factors, the clients' sparse peculiarities scaled apart from what is common."""
    common_rank(stack, "fedrpca")
    A = _average(torch.stack([factors.A for factors in stack.factors]), options.beta)
    B = _average(torch.stack([factors.B for factors in stack.factors]), options.beta)
    return Factors(A, B)


def _average(factors: Tensor, beta: float) -> Tensor:
    """X* of (K, rows, columns)."""
    common, peculiar = robust_pca(factors.double().flatten(1).T)
    return (common.mean(1) + beta * peculiar.mean(1)).view(factors.shape[1:]).to(factors.dtype)


def robust_pca(M: Tensor) -> tuple[Tensor, Tensor]:
    """L and S of (d, K), both zero where M is."""
    S, Y = torch.zeros_like(M), torch.zeros_like(M)
    size = M.abs().sum()
    if size == 0:
        return S, S
    mu, weight = M.numel() / (4 * size), max(M.shape) ** -0.5
    for _ in range(STEPS):
        L = _lowered(M - S + Y / mu, 1 / mu)
        S = torch.nn.functional.softshrink(M - L + Y / mu, float(weight / mu))
        rest = M - L - S
        Y += mu * rest
        if rest.norm() <= TOLERANCE * M.norm():
            break
    return M - S, S


def _lowered(X: Tensor, amount: Tensor) -> Tensor:
    """Singular values of (d, K) lowered by `amount`, none below zero; through the Gram of the K columns."""
    values, V = torch.linalg.eigh(X.T @ X)
    values = values.clamp(min=0).sqrt()
    shares = (values - amount).clamp(min=0) / values.clamp(min=torch.finfo(values.dtype).tiny)
    return X @ (V * shares @ V.T)
