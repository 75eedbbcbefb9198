"""Scores of clients' updates at a point: what the criterion needs is fetched, checked and handed on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sap.errors import SapError
from sap.factors import Factors, as_factors, is_finite
from sap.io import canonical, seed_of
from sap.needs import STATISTICS, from_source
from sap.prune._api import CRITERIA, Criterion
from sap.prune.mask import unit_means
from sap.setting import ANCHORED, MEASURED, names_where
from sap.update import Update

Point = Mapping[str, Any]
Reader = Callable[[Point, str], Mapping[str, Tensor]]


class Scorer:
    """Scores single layers of single clients; see `Pruner` for the arguments."""

    def __init__(
        self, updates: Mapping[str, Update], gradients: Reader | None, statistics: Reader | None, seed: int
    ) -> None:
        self._updates, self._seed = updates, seed
        self._gradients = gradients and _Opened(gradients, ANCHORED)
        self._statistics = statistics and _Opened(statistics, MEASURED)

    def weights(self, point: Point, client: str, layer: str) -> dict[str, Tensor]:
        """What is scored and masked: {layer: ΔW}, or {layer/A: A, layer/B: B}."""
        entry = self._updates[client][layer]
        if point["space"] == "delta":
            return {layer: self._updates[client].dense(layer)}
        if not isinstance(entry, Factors):
            raise SapError(f"client '{client}' has no factors in layer {layer}. Prune it in space `delta`.")
        return {f"{layer}/A": entry.A, f"{layer}/B": entry.B}

    def scores(self, point: Point, unit: str, client: str, layer: str, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Scores of what competes in one layer (entries: in the shapes of `weights`); larger = keep."""
        criterion = CRITERIA[point["criterion"]]
        if criterion.needs == {"rng"} and unit != "entry":
            # one draw for each unit: means of many draws lie the nearer to 1/2 the larger the unit is
            weights, unit = {layer: unit_means(unit, list(weights.values()))[0]}, "entry"
        extras: dict[str, dict[str, Any]] = {name: {} for name in weights}
        if "gradient" in criterion.needs:
            for name, gradient in self._weight_gradients(criterion, point, client, layer).items():
                extras[name]["gradient"] = gradient
        for kind in from_source(STATISTICS, criterion.needs):
            extras[layer][kind] = self._statistic(kind, criterion, point, client, layer)
        if "rng" in criterion.needs:
            for name in weights:
                seed = seed_of("random-mask", client, name, self._seed, point.get("anchor_draw", 0))
                extras[name]["rng"] = torch.Generator().manual_seed(seed)
        return unit_means(unit, [criterion.score(weight, **extras[name]) for name, weight in weights.items()])

    def _weight_gradients(self, criterion: Criterion, point: Point, client: str, layer: str) -> dict[str, Tensor]:
        """∂L/∂ΔW = G; in factor space ∂L/∂A = BᵀG and ∂L/∂B = GAᵀ, or the stored means of their absolutes."""
        absolute, factors = point["reduction"] == "mean_of_absolute", point["space"] == "factors"
        if self._gradients is None:
            raise SapError(f"criterion {criterion.name} needs gradients of the anchors. Score the clients first.")
        entry, found = self._updates[client][layer], self._gradients(point, client)
        names = [f"{layer}/A", f"{layer}/B"] if factors and absolute else [layer]
        gradients = {}
        for name in names:
            if name not in found:
                raise SapError(f"client '{client}': its gradients lack {name}. Score the client again.")
            gradients[name] = found[name].to(self._updates[client].device)
            if not is_finite(gradients[name]):
                raise SapError(f"client '{client}': its gradient of {name} holds NaN or Inf. Score the client again.")
        if factors and not absolute:
            (A, B), gradient = as_factors(entry), gradients[layer]
            return {f"{layer}/A": B.T @ gradient, f"{layer}/B": gradient @ A.T}
        return gradients

    def _statistic(self, kind: str, criterion: Criterion, point: Point, client: str, layer: str) -> Tensor:
        """The client's `fisher` (m, n) or `gram` (n, n) of one layer, see `statistic_of`."""
        if self._statistics is None:
            raise SapError(
                f"criterion {criterion.name} needs each client's {kind}, which this run does not have. "
                "Choose another criterion."
            )
        update = self._updates[client]
        return statistic_of(self._statistics(point, client), client, layer, kind, update.shape(layer)).to(update.device)


def statistic_of(found: Mapping[str, Tensor], client: str, layer: str, kind: str, size: tuple[int, int]) -> Tensor:
    """A client's `fisher` (m, n) or `gram` (n, n) of one layer of `size` (m, n).

    It may be an upload, so it is not trusted: SapError unless it is there in its shape, finite, and a mean of squares,
    which is never below zero: all of a Fisher information, the diagonal of a Gram matrix.
    """
    name, (m, n) = f"{layer}/{kind}", size
    if name not in found:
        raise SapError(f"client '{client}': its statistics lack {name}. Leave it out, or merge without statistics.")
    statistic, shape = found[name], (m, n) if kind == "fisher" else (n, n)
    if statistic.shape != shape or not is_finite(statistic):
        raise SapError(
            f"client '{client}': its {name} must be finite and of shape {shape}, got shape "
            f"{tuple(statistic.shape)}. Leave it out, or merge without statistics."
        )
    lowest = float((statistic if kind == "fisher" else statistic.diagonal()).min())
    if lowest < 0:
        raise SapError(
            f"client '{client}': its {name} must be a mean of squares, and has {lowest:.3g}. "
            "Leave it out, or merge without statistics."
        )
    return statistic


class _Opened:
    """What a reader gave for each client; that of one setting of its fields stays open, neighbouring points share it.

    `when`: the fields are those that matter under this condition (sap.setting).
    """

    def __init__(self, read: Reader, when: str) -> None:
        self._read, self._fields, self._key = read, names_where(when), ""
        self._found: dict[str, Mapping[str, Tensor]] = {}

    def __call__(self, point: Point, client: str) -> Mapping[str, Tensor]:
        key = canonical({field: point.get(field) for field in self._fields})
        if self._key != key:
            self._key, self._found = key, {}
        if client not in self._found:
            self._found[client] = self._read(point, client)
        return self._found[client]
