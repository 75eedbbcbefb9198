"""Least squares from the clients' Grams: the layer that answers each client's inputs as that client's own does.

    Ĝ_k = α G_k + (1 − α) diag(G_k) + ε ḡ I                        (n, n), ḡ = mean of all clients' diagonals
    ΔW* = (Σ_k ΔW_k Ĝ_k)(Σ_k Ĝ_k)^-1                               (m, n)

The ridge is part of every client's Gram: it draws towards the plain mean where nobody has inputs, and equal clients or
equal Grams still give the mean exactly. In float64: Grams of transformers have condition numbers beyond float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sap.errors import SapError
from sap.factors import Entry, Factors, add
from sap.update import Stack


def regress(stack: Stack, alpha: float, ridge: float) -> Entry:
    """ΔW* of the module docstring. Factors stay factors: only the A_k Ĝ_k are solved for, never a dense ΔW."""
    if not stack.low_rank:
        return solved(stack, stack.delta, alpha, ridge, summed=True)
    rows = solved(stack, lambda k: stack.factors[k].A, alpha, ridge)
    blocks = rows.split([factors.A.shape[0] for factors in stack.factors])
    return add([Factors(block, factors.B) for block, factors in zip(blocks, stack.factors, strict=True)])


def solved(stack: Stack, rows: Callable[[int], Tensor], alpha: float, ridge: float, summed: bool = False) -> Tensor:
    """[X_1 Ĝ_1; …; X_K Ĝ_K](Σ_k Ĝ_k)^-1 of X_k = rows(k), (s_k, n); (Σ_k X_k Ĝ_k)(Σ_k Ĝ_k)^-1 if `summed`."""
    plain, right, grams = list[Tensor](), list[Tensor](), list[Tensor]()
    for client in range(len(stack.clients)):
        x = rows(client)
        gram = shrunk(stack.extras["gram"](client).to(x.device), alpha)
        plain.append(x.double())
        right.append(times(plain[-1], gram))
        grams = [grams[0].add_(gram)] if client else [gram]
        if summed and client:
            plain, right = [plain[0] + plain[1]], [right[0] + right[1]]
    return ridged(torch.cat(right), torch.cat(plain), grams[0], ridge, stack).to(x.dtype)


def shrunk(gram: Tensor, alpha: float) -> Tensor:
    """α G + (1 − α) diag(G) in float64, (n, n); where α = 0 only the diagonal, (n,)."""
    diagonal = gram.diagonal().to(torch.float64, copy=True)
    if alpha == 0:
        return diagonal
    gram = gram.to(torch.float64, copy=True).mul_(alpha)
    gram.diagonal().copy_(diagonal)
    return gram


def times(rows: Tensor, gram: Tensor) -> Tensor:
    """X G of a Gram (n, n), or of a diagonal one (n,)."""
    return rows * gram if gram.dim() == 1 else rows @ gram


def ridged(right: Tensor, plain: Tensor, total: Tensor, ridge: float, stack: Stack) -> Tensor:
    """(Σ X_k G_k + ρ Σ X_k)(Σ G_k + K ρ I)^-1, ρ = ridge · tr(Σ G_k) / (K n); `total` = Σ G_k is overwritten."""
    diagonal = total if total.dim() == 1 else total.diagonal()
    rho = ridge * float(diagonal.mean()) / len(stack.clients)
    diagonal.add_(rho * len(stack.clients))
    right = right.add_(plain, alpha=rho)
    if total.dim() == 1:
        singular, found = not bool((total > 0).all()), right / total
    else:
        factor, failed = torch.linalg.cholesky_ex(total)
        singular, found = bool(failed), torch.cholesky_solve(right.T, factor).T
    if singular:
        raise SapError(
            f"layer {stack.layer}: the Grams of {', '.join(stack.clients)} together are singular with ridge {ridge}. "
            "Raise the merge method's ridge (such as 1.0e-6), or measure more images."
        )
    return found
