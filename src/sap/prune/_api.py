"""Registration of scores (criteria): a pure function of one weight tensor and what it declared to need."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sap.needs import check_needs
from sap.registry import Registry

CRITERION_NEEDS = ("gradient", "rng", "gram", "fisher")


@dataclass(frozen=True)
class Criterion:
    """One score and what it declared."""

    name: str
    function: Callable[..., Tensor]
    needs: frozenset[str]
    signed: bool

    def score(self, weight: Tensor, **available: Any) -> Tensor:
        """Score of each entry of `weight`, same shape, larger = keep; passes on only what is declared."""
        return self.function(weight, **{name: available[name] for name in sorted(self.needs)})


CRITERIA: Registry[Criterion] = Registry("criterion")


def criterion(name: str, needs: frozenset[str] | set[str] = frozenset(), signed: bool = False) -> Callable:
    """Register `fn(weight, ...) -> score`: the weight is ΔW (m, n), A (r, n) or B (m, r), the score has its shape.

    `needs`: of CRITERION_NEEDS (see sap.needs), each a keyword argument: the `gradient` in the weight's own shape,
    `rng` of this client and weight, `gram` and `fisher` in space `delta` only.
    `signed`: the score is meaningless without the sign of the gradient, so mean |g_i| cannot feed it.
    """
    check_needs(f"criterion {name}", needs, CRITERION_NEEDS)

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        CRITERIA.add(name, Criterion(name, function, frozenset(needs), signed))
        return function

    return register


def describe() -> dict[str, dict[str, Any]]:
    """Name -> module, summary, needs, signed of every criterion, as plain JSON (for schema, docs and ledger)."""
    return {
        name: {
            "module": entry.function.__module__,
            "summary": (entry.function.__doc__ or "").strip().split("\n")[0],
            "needs": sorted(entry.needs),
            "signed": entry.signed,
        }
        for name, entry in CRITERIA.items()
    }
