"""Closed-form input that needs no file, for numbers that others can recompute by hand.

B_k[i, j] = cos((0.3 + 0.11 k + 0.17 j) i + 1.7 j + 0.9 k),  A_k[j, i] = sin((0.5 + 0.13 k + 0.19 j) i + 1.1 j + 0.7 k
+ 0.2), three clients, rank 2, one layer (6, 8), float64. K·r = 6 = min(m, n), so spectral methods are well-posed.
Expected values: Frobenius norm, sum, entries [0, 0] and [5, 7], from peft 0.21.2, mergekit 0.1.5, fusion-bench 0.2.33
or, where those have no such method, from a transcription of the published formula outside this project.
"""

import pytest
import torch

from sap.config import parse
from sap.merge._api import METHODS
from sap.update import Factors, Update, stacks

LAYER = "layer"


def _grid(rows, columns):
    return torch.meshgrid(
        torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64), indexing="ij"
    )


def factors(k: int) -> Factors:
    i, j = _grid(6, 2)
    B = torch.cos((0.3 + 0.11 * k + 0.17 * j) * i + 1.7 * j + 0.9 * k)
    j, i = _grid(2, 8)
    return Factors(torch.sin((0.5 + 0.13 * k + 0.19 * j) * i + 1.1 * j + 0.7 * k + 0.2), B)


def gram(k: int) -> torch.Tensor:
    """X_kᵀX_k / 20 of X_k[s, j] = sin(0.21 (s+1)(j+1) + 0.5 k) + 0.3 [(s + j + k) mod 3 = 0], s < 20."""
    s, j = _grid(20, 8)
    rows = torch.sin(0.21 * (s + 1) * (j + 1) + 0.5 * k) + 0.3 * ((s + j + k) % 3 == 0)
    return rows.T @ rows / 20


def clients(n: int = 3, shared_a: bool = False, shared_b: bool = False) -> dict[str, Update]:
    """`shared_a` / `shared_b`: every client has client 0's factor."""
    first, made = factors(0), {}
    for k in range(n):
        A, B = factors(k)
        made[f"client{k}"] = Update({LAYER: Factors(first.A if shared_a else A, first.B if shared_b else B)})
    return made


def merged(name, updates=None, weights=None, extras=None, **options) -> torch.Tensor:
    """ΔW (6, 8) of a registered method; grams are given, Fisher is ΔW_k²."""
    updates = updates or clients()
    made = list(updates.values())
    given = {"gram": lambda layer: gram, "fisher": lambda layer: lambda k: made[k].dense(layer) ** 2} | (extras or {})
    method = METHODS[name]
    return method.merge(stacks(updates, weights, given), parse(method.options, options, name)).dense(LAYER)


def assert_numbers(found: torch.Tensor, norm: float, total: float, first: float, last: float) -> None:
    numbers = [float(found.norm()), float(found.sum()), float(found[0, 0]), float(found[5, 7])]
    assert numbers == pytest.approx([norm, total, first, last], abs=2e-6)
