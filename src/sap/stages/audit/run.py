"""What a merge really does, measured layer by layer: "how is the sum divided by K computed?"

For the clients' updates D_k as the merge method receives them (pruned and rescaled) and its result D*:

    coefficients   c = argmin ‖D* − Σ_k c_k D_k‖²                    the weight of each client
    unexplained    ‖D* − Σ_k c_k D_k‖² / ‖D*‖²                       energy that no combination of clients explains
    cross          what of it the products B_j A_k explain, which no client uploaded (cross terms)
    denominator    ‖Σ_k D_k‖² / <Σ_k D_k, D*>                        d in D* ≈ (1/d) Σ_k D_k
    norm ratio     ‖D*‖ / mean_k ‖D_k‖
    survivors      mean over entries of the number of clients that are not zero there

Order and scale equivariance are the relative change of D* when the clients come in reverse, and of D*/2 when every D_k
is doubled: 0 where the method has the property, measured and not declared.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sap.compose import Composer, merged_clients
from sap.factors import Entry, Factors, add, inner, map_tensors, scaled, shape
from sap.lowrank import rank_of
from sap.merge._api import OF_CLIENTS
from sap.prune.pruner import Point
from sap.setting import AFTER, FIELDS
from sap.update import Stack

BYTES = 4  # of a float32, the dtype of everything that is uploaded


def audit_point(composer: Composer, point: Point) -> Iterator[dict[str, Any]]:
    """One row per layer of the point's merge: the quantities above, `rank`, `energy` ‖D*‖² and `upload_bytes`.

    `cross` is 0 where a client has no factors. `upload_bytes` are the statistics that one client sends for this layer
    besides its adapter. λ, control and rank of the point are part of D*; the two equivariances are those of the merge
    method alone.
    """
    method, options, stacks = composer.stacks(merged_clients(point))
    result = composer.merge(point)
    after = [(name, field.default) for name, field in FIELDS.items() if field.step == AFTER]
    untouched = all(point.get(name, default) == default for name, default in after)
    plain = result if untouched else method.merge(stacks, options)
    backwards = method.merge(_Changed(stacks, _reverse), options)
    doubled = method.merge(_Changed(stacks, _double), options).scaled(0.5)
    for layer, entry in result.items():
        stack = stacks[layer]
        entries = list(stack.entries())
        rank = max((part.A.shape[0] for part in entries if isinstance(part, Factors)), default=0)
        uploads = method.uploads if point.get("statistics") == "client" else None
        yield {
            "layer": layer,
            "shape": list(shape(entry)),
            **_decomposition(entry, entries, stack.clients),
            "survivors": math.fsum(map(_filled, entries)),
            "order": _relative_change(backwards[layer], plain[layer]),
            "scale": _relative_change(doubled[layer], plain[layer]),
            "rank": rank_of(entry),
            "upload_bytes": BYTES * uploads(options, *shape(entry), rank) if uploads else 0,
        }


def _decomposition(entry: Entry, entries: list[Entry], clients: tuple[str, ...]) -> dict[str, Any]:
    """Least squares from K × K inner products in float64; clients that coincide share their coefficient."""
    gram = torch.tensor([[inner(a, b) for b in entries] for a in entries], dtype=torch.float64)
    target = torch.tensor([inner(part, entry) for part in entries], dtype=torch.float64)
    energy, total = inner(entry, entry), float(gram.sum())
    coefficients = _least_squares(gram, target)
    unexplained = _share_left(coefficients, target, energy)
    pairs = [part for part in entries if isinstance(part, Factors)]
    cross = unexplained - _beyond_products(entry, pairs, energy) if pairs else 0.0
    along = float(target.sum())
    mean_norm = float(gram.diagonal().clamp(min=0).sqrt().mean())
    return {
        "coefficients": dict(zip(clients, coefficients.tolist(), strict=True)),
        "unexplained": unexplained,
        "cross": max(0.0, cross),
        "denominator": total / along if along else None,
        "norm_ratio": math.sqrt(energy) / mean_norm if mean_norm else None,
        "energy": energy,
    }


def _beyond_products(entry: Entry, factors: list[Factors], energy: float) -> float:
    """Share of the energy that no combination of the K² products B_i A_j explains; all of it where ranks differ.

    <B_i A_j, B_k A_l> = Σ_ab (B_iᵀ B_k)_ab (A_j A_lᵀ)_ab, and <B_i A_j, D*> is a trace of B_iᵀ D* A_jᵀ.
    """
    ranks = {pair.A.shape[0] for pair in factors}
    if len(ranks) > 1:
        return 1.0
    K, r = len(factors), ranks.pop()
    A = torch.cat([pair.A for pair in factors]).double()
    B = torch.cat([pair.B for pair in factors], dim=1).double()
    star = map_tensors(Tensor.double, entry)
    middle = (B.T @ star.B) @ (star.A @ A.T) if isinstance(star, Factors) else B.T @ star @ A.T
    gram = torch.einsum("iakb,jalb->ijkl", (B.T @ B).view(K, r, K, r), (A @ A.T).view(K, r, K, r)).reshape(K * K, -1)
    target = torch.einsum("iaja->ij", middle.view(K, r, K, r)).flatten()
    return _share_left(_least_squares(gram, target), target, energy)


def _least_squares(gram: Tensor, target: Tensor) -> Tensor:
    return torch.linalg.pinv(gram, rtol=1e-10, hermitian=True) @ target


def _share_left(coefficients: Tensor, target: Tensor, energy: float) -> float:
    """1 − (explained energy) / energy, 0 where there is none."""
    return max(0.0, 1 - float(coefficients @ target) / energy) if energy else 0.0


def _filled(entry: Entry) -> float:
    """Share of entries that are not zero; a product of factors has none at zero unless a factor vanishes."""
    if isinstance(entry, Factors):
        rows, columns = (entry.B != 0).any(1), (entry.A != 0).any(0)
        return float(rows.double().mean() * columns.double().mean())
    return int(entry.count_nonzero()) / entry.numel()


def _relative_change(changed: Entry, entry: Entry) -> float:
    size = inner(entry, entry)
    difference = add([changed, scaled(entry, -1.0)])
    return math.sqrt(max(inner(difference, difference), 0.0) / size) if size else 0.0


def _reverse(stack: Stack) -> Stack:
    last = len(stack.clients) - 1
    extras = {
        need: (lambda k, read=value: read(last - k)) if need in OF_CLIENTS else value
        for need, value in stack.extras.items()
    }
    return _stack_like(stack, stack.clients[::-1], stack.weights.flip(0), lambda k: stack.entry(last - k), extras)


def _double(stack: Stack) -> Stack:
    return _stack_like(stack, stack.clients, stack.weights, lambda k: scaled(stack.entry(k), 2.0), stack.extras)


def _stack_like(
    stack: Stack, clients: tuple[str, ...], weights: Tensor, entry: Callable[[int], Entry], extras: Mapping[str, Any]
) -> Stack:
    return Stack(stack.layer, clients, weights, entry, stack.low_rank, extras)


class _Changed(Mapping[str, Stack]):
    """Stacks seen through a function, each made when it is asked for."""

    def __init__(self, stacks: Mapping[str, Stack], change: Callable[[Stack], Stack]) -> None:
        self._stacks, self._change = stacks, change

    def __getitem__(self, layer: str) -> Stack:
        return self._change(self._stacks[layer])

    def __iter__(self) -> Iterator[str]:
        return iter(self._stacks)

    def __len__(self) -> int:
        return len(self._stacks)
