"""One server-side setting (a point) applied to the clients' updates: prune, merge, control, finish, scale.

Layer by layer: no more than one layer of all clients is ever dense, so ViT-L with 30 clients fits. What is kept
between points is small (cuts, norms) or bounded (unpruned merges). Methods and criteria come from their registries.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sap.combinations import check_combination
from sap.config import parse
from sap.errors import SapError, unreadable
from sap.factors import Entry, Factors
from sap.finish._api import finish
from sap.io import canonical, notes_of, open_tensors, seed_of
from sap.lowrank import truncate
from sap.merge._api import METHODS, Method
from sap.needs import NEEDS, STATISTICS
from sap.prune._api import CRITERIA
from sap.prune.pruner import Gradients, Point, Pruner
from sap.prune.scorer import statistic_of
from sap.setting import MERGE, complete, prunes, relevant, up_to
from sap.update import Stack, Update, check_alike, client_shares

CACHE_BYTES = 2**31  # of unpruned merges that are kept between points


class Composer:
    """Merges the same clients at many points.

    `updates`: client -> Update (any order, clients are sorted); `counts`: client -> sample count; `gradients`:
    (point, client) -> {layer: (m, n)}, see `Pruner` and `LazyGradients`; `seed`: the clients' seed, it also decides
    random masks; `statistics`: (point, client) -> {"{layer}/gram": (n, n), "{layer}/fisher": (m, n)}; `judge`: point
    -> the anchors' judge (sap.saliency.anchors), for methods that read the anchors themselves; `cache_bytes` bounds the
    unpruned merges that are kept between points.
    """

    def __init__(
        self,
        updates: Mapping[str, Update],
        counts: Mapping[str, float] | None = None,
        gradients: Gradients | None = None,
        seed: int = 0,
        statistics: Gradients | None = None,
        judge: Callable[[Point], Any] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        check_alike(updates)
        self.updates = {client: updates[client] for client in sorted(updates)}
        self.clients = tuple(self.updates)
        self.layers = tuple(self.updates[self.clients[0]])
        self._pruner = Pruner(self.updates, gradients, seed, statistics)
        self._counts, self._seed = counts, seed
        self._read, self._measured, self._judge = gradients, statistics, judge
        self._norms: dict[str, dict[str, float]] = {}
        self._merges: OrderedDict[str, Update] = OrderedDict()
        self._cache_bytes = cache_bytes

    def merge(self, point: Point) -> Update:
        """The update of one point, λ included.

        `control`: "shrunk" is the unpruned merge at the pruned merge's layer norms, "restored" the pruned merge at
        the unpruned merge's layer norms. A `finish` sees the clients that were merged (`merged_clients`).
        Raises SapError for names, options and combinations that do not exist.
        """
        point = _checked(point)
        if not prunes(point):
            merged = self._unpruned(point)
        elif point["control"] == "shrunk":
            merged = _at_norms(self._unpruned(point), self._pruned_norms(point))
        elif point["control"] == "restored":
            merged = _at_norms(self._pruned(point), self._unpruned(point).norms())
        else:
            merged = self._pruned(point)
        if point["finish"] != "none":
            merged = finish(point["finish"], merged, self._stacks(merged_clients(point))[2])
        if point["rank"] is not None:
            merged = Update({layer: truncate(entry, point["rank"])[0] for layer, entry in merged.items()})
        return merged if point["scale"] == 1 else merged.scaled(point["scale"])

    def prune(self, point: Point, client: str) -> Update:
        """One client's update after pruning and rescaling at this point, before any merge."""
        point = _checked(point)
        return Update({layer: self._entry(point, client, layer) for layer in self.layers})

    def _unpruned(self, point: Point) -> Update:
        point = relevant({**point, "criterion": "none"}, METHODS[point["merge"]["method"]].needs)
        key = _merge_key(point)
        if key not in self._merges:
            self._merges[key] = self._run(point)
            while len(self._merges) > 1 and sum(update.nbytes for update in self._merges.values()) > self._cache_bytes:
                self._merges.popitem(last=False)
        self._merges.move_to_end(key)
        return self._merges[key]

    def _pruned(self, point: Point) -> Update:
        merged = self._run(point)
        self._norms[_merge_key(point)] = merged.norms()
        return merged

    def _pruned_norms(self, point: Point) -> dict[str, float]:
        if _merge_key(point) not in self._norms:
            self._pruned(point)
        return self._norms[_merge_key(point)]

    def stacks(self, point: Point) -> tuple[Method, Any, Mapping[str, Stack]]:
        """(method, options, {layer: Stack}): what the point's merge method is given, after pruning and rescaling."""
        return self._stacks(_checked(point))

    def _stacks(self, point: Point) -> tuple[Method, Any, Mapping[str, Stack]]:
        settings = dict(point["merge"])
        method = METHODS[settings.pop("method")]
        options = parse(method.options, settings, f"merge.{method.name}")
        needs = method.needed(options)
        return method, options, _LazyStacks(self.layers, lambda layer: self._stack(point, method, needs, layer))

    def _run(self, point: Point) -> Update:
        method, options, stacks = self._stacks(point)
        return method.merge(stacks, options)

    def _stack(self, point: Point, method: Method, needs: set[str], layer: str) -> Stack:
        """One layer of all clients with what the method declared, and nothing else."""
        shares = client_shares(self.clients, self._counts if "counts" in needs else None)
        dense_space = prunes(point) and point["space"] == "delta"
        low_rank = not dense_space and all(isinstance(update[layer], Factors) for update in self.updates.values())
        extras = {need: self._extra(need, point, method, layer) for need in sorted(needs - {"counts"})}
        return Stack(
            layer, self.clients, shares, lambda k: self._entry(point, self.clients[k], layer), low_rank, extras
        )

    def _entry(self, point: Point, client: str, layer: str) -> Entry:
        return self._pruner.entry(point, client, layer) if prunes(point) else self.updates[client][layer]

    def _extra(self, need: str, point: Point, method: Method, layer: str) -> Any:
        if need == "rng":
            return lambda name: torch.Generator().manual_seed(seed_of("merge", method.name, layer, name, self._seed))
        if need == "gradient" and self._read:
            return lambda k: self._read(point, self.clients[k])[layer]
        if NEEDS[need].source == STATISTICS and self._measured:
            size = self.updates[self.clients[0]].shape(layer)
            return lambda k: statistic_of(self._measured(point, self.clients[k]), self.clients[k], layer, need, size)
        if need == "root" and self._judge:
            return self._judge(point).root(self.updates[self.clients[0]])[layer]
        if need == "anchors" and self._judge:
            return self._judge(point)
        raise SapError(f"merge.{method.name} needs {need}, which this run does not have. Choose another method.")


def merged_clients(point: Point) -> dict[str, Any]:
    """The point whose clients enter the result: `shrunk` scales the unpruned merge."""
    return dict(point) | ({"criterion": "none"} if point.get("control") == "shrunk" else {})


def merge_point(
    point: Point,
    updates: Mapping[str, Update],
    weights: Mapping[str, float] | None = None,
    gradients: Callable[[str, int], Mapping[str, Tensor]] | None = None,
    seed: int = 0,
) -> Update:
    """One point on its own; `gradients` maps (client, anchor size) to {layer: tensor}. For many points: Composer."""

    def read(settings: Point, client: str) -> Mapping[str, Tensor]:
        return gradients(client, settings["anchor_size"]) if gradients else {}

    return Composer(updates, weights, read if gradients else None, seed).merge(point)


class LazyTensors(Mapping[str, Tensor]):
    """The tensors of a safetensors file, each read when it is asked for; those whose names begin with `prefix`.

    `notes`: the file's own notes. SapError for a file of what could not be computed, with what it says.
    """

    def __init__(self, path: str | Path, prefix: str = "") -> None:
        self._file = open_tensors(path)
        names = [name for name in self._file.keys() if name.startswith(prefix)]  # noqa: SIM118
        self._names = {name.removeprefix(prefix): name for name in names}
        try:
            self.notes = notes_of(self._file)
        except (ValueError, RecursionError) as error:
            raise unreadable(path, error) from error
        if "failed" in self.notes:
            raise SapError(self.notes["failed"])

    def __getitem__(self, name: str) -> Tensor:
        return self._file.get_tensor(self._names[name])

    def __contains__(self, name: object) -> bool:
        return name in self._names  # Mapping's own would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class LazyGradients(LazyTensors):
    """The gradients of one anchor size in a gradients.safetensors; `notes`: alignment, reduction."""

    def __init__(self, path: str | Path, size: int) -> None:
        super().__init__(path, f"{size}/")
        if not self._names:
            raise SapError(f"{path} has no gradients of {size} anchors. Add the size to anchors.sizes and score again.")


class _LazyStacks(Mapping[str, Stack]):
    """Layer -> Stack, made anew at each access, so that nothing dense outlives its use."""

    def __init__(self, layers: tuple[str, ...], make: Callable[[str], Stack]) -> None:
        self._layers, self._make = layers, make

    def __getitem__(self, layer: str) -> Stack:
        return self._make(layer)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _checked(point: Point) -> dict[str, Any]:
    """The point with its defaults; SapError for names, values and combinations that no merge could run."""
    point = complete(point)
    criterion = {} if point["criterion"] == "none" else vars(CRITERIA[point["criterion"]])
    check_combination(point, criterion, vars(METHODS[point["merge"]["method"]]))
    return point


def _merge_key(point: Point) -> str:
    return canonical(up_to(point, MERGE))


def _at_norms(update: Update, norms: Mapping[str, float]) -> Update:
    """Every layer scaled to the given Frobenius norm; a layer without direction stays zero."""
    return update.scaled({layer: norms[layer] / norm if norm else 1.0 for layer, norm in update.norms().items()})
