"""Updates ΔW of whole models: their algebra, their files, and the stacks of clients that merge methods see."""

import math
import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from sap.errors import SapError
from sap.factors import Entry, Factors, add, as_factors, dense, inner, is_finite, map_tensors, scaled, shape, tensors_of
from sap.io import load_tensors, save_tensors
from sap.upload import read_adapter

OWN_MODEL = "Use the model that the adapter was trained on."

MOST_WEIGHT = 2**53  # of a client: float64 counts to here without gaps, and nobody has as many images


class Update(Mapping[str, Entry]):
    """ΔW of every adapted layer: layer name -> Factors, or a dense (m, n) tensor.

    Immutable. Layers are always in natural order (block 2 before block 10), whatever order they came in.
    """

    def __init__(self, layers: Mapping[str, Entry]) -> None:
        self._layers = {name: layers[name] for name in sorted(layers, key=_natural)}

    def __getitem__(self, layer: str) -> Entry:
        return self._layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def dense(self, layer: str) -> Tensor:
        """ΔW of one layer, (m, n)."""
        return dense(self[layer])

    def shape(self, layer: str) -> tuple[int, int]:
        """(m, n) = (out, in) of one layer."""
        return shape(self[layer])

    def norms(self) -> dict[str, float]:
        """Frobenius norm of each layer."""
        return {layer: math.sqrt(max(inner(entry, entry), 0.0)) for layer, entry in self.items()}

    def norm(self) -> float:
        """Frobenius norm over all layers."""
        return math.hypot(*self.norms().values())

    def inners(self, other: "Update") -> dict[str, float]:
        """Inner product <ΔW, ΔW'> of each layer; both updates must have the same layers."""
        _check_same_layers(self, other)
        return {layer: inner(self[layer], other[layer]) for layer in self}

    def inner(self, other: "Update") -> float:
        """Inner product over all layers."""
        return math.fsum(self.inners(other).values())

    def scaled(self, scale: float | Mapping[str, float]) -> "Update":
        """c · ΔW; `scale` is one number, or one for each layer."""
        scales = scale if isinstance(scale, Mapping) else dict.fromkeys(self, scale)
        return Update({layer: scaled(entry, scales[layer]) for layer, entry in self.items()})

    def __add__(self, other: "Update") -> "Update":
        _check_same_layers(self, other)
        return Update({layer: add([self[layer], other[layer]]) for layer in self})

    @property
    def device(self) -> torch.device:
        """Where the first layer's numbers lie."""
        return tensors_of(next(iter(self.values())))[0].device

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for entry in self.values() for tensor in tensors_of(entry))

    def to(self, *args: Any) -> "Update":
        """Every tensor moved to a device or dtype, as `Tensor.to` does."""
        return Update({layer: map_tensors(lambda tensor: tensor.to(*args), entry) for layer, entry in self.items()})

    def check_finite(self, where: str, step: str = "Leave it out, or make it again.") -> "Update":
        """Return self; SapError naming `where`, the layer and the next step if an entry is NaN or infinite."""
        for layer, entry in self.items():
            if not all(map(is_finite, tensors_of(entry))):
                raise SapError(f"{where}: layer {layer} holds NaN or Inf. {step}")
        return self

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[nn.Module]:
        """Run a block with W0 + ΔW on `model`; afterwards the very same W0 tensors are back, also after an error.

        Parameters keep their identity, only their `.data` is exchanged. Half-precision weights are added in float32.
        """
        parameters = {layer: _parameter(model, layer, self.shape(layer)) for layer in self}
        originals = {layer: parameter.data for layer, parameter in parameters.items()}
        try:
            for layer, parameter in parameters.items():
                parameter.data = _sum_of_weights(originals[layer], self[layer])
            yield model
        finally:
            for layer, parameter in parameters.items():
                parameter.data = originals[layer]


class Stack:
    """One layer of K clients: all that a merge method sees.

    `clients` (K names, ordered), `weights` (K,) float64 summing to 1, `low_rank` (whether every client has factors),
    `factors` (K Factors, where it is), `delta(k)` (m, n) of client k, `dense` (K, m, n), `entries()` (K Factors, or K
    deltas one at a time); `extras` holds what the method declared.
    Entries are asked for when they are needed, so a whole model of dense clients never lies in memory at once.
    """

    def __init__(
        self,
        layer: str,
        clients: tuple[str, ...],
        weights: Tensor,
        entry: Callable[[int], Entry],
        low_rank: bool,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        self.layer, self.clients, self.weights = layer, clients, weights
        self.extras, self.low_rank = dict(extras or {}), low_rank
        self._entry = entry

    def entry(self, client: int) -> Entry:
        """Factors of the client at this position where every client has some, else its ΔW (m, n)."""
        return self._entry(client) if self.low_rank else self.delta(client)

    def entries(self) -> Iterator[Entry]:
        """`entry` of one client after the other."""
        return map(self.entry, range(len(self.clients)))

    def delta(self, client: int) -> Tensor:
        """ΔW of the client at this position, (m, n)."""
        return dense(self._entry(client))

    @cached_property
    def factors(self) -> tuple[Factors, ...]:
        """Factors of every client. A stack with a dense client has none: ask `low_rank` first."""
        return tuple(as_factors(entry) for entry in self.entries())

    @cached_property
    def dense(self) -> Tensor:
        """ΔW of all clients, (K, m, n)."""
        return torch.stack([self.delta(k) for k in range(len(self.clients))])


def stacks(
    updates: Mapping[str, Update],
    weights: Mapping[str, float] | None = None,
    extras: Mapping[str, Callable[[str], Any]] | None = None,
) -> dict[str, Stack]:
    """Layer name -> Stack of all clients, in the order of `updates`.

    `weights` (sample counts, any positive scale) become shares; None gives every client 1/K. `extras`: what the method
    needs besides, each a function of the layer's name.
    Raises SapError where clients adapt different layers or shapes, or hold NaN.
    """
    clients = tuple(updates)
    check_alike(updates)
    shares = client_shares(clients, weights)
    first = updates[clients[0]]

    def stack(layer: str) -> Stack:
        entries = [updates[client][layer] for client in clients]
        low_rank = all(isinstance(entry, Factors) for entry in entries)
        given = {need: function(layer) for need, function in (extras or {}).items()}
        return Stack(layer, clients, shares, entries.__getitem__, low_rank, given)

    return {layer: stack(layer) for layer in first}


def check_alike(updates: Mapping[str, Update]) -> None:
    """SapError unless there is a client, all adapt the same layers in the same shapes, and all are finite."""
    if not updates:
        raise SapError("merge: there is no update. Name at least one.")
    first_name, first = next(iter(updates.items()))
    shapes = {layer: first.shape(layer) for layer in first}
    for client, update in updates.items():
        where = f"update of '{client}'"
        if set(update) != set(shapes):
            odd = min(set(update) ^ set(shapes), key=_natural)
            raise SapError(
                f"{where} and that of '{first_name}' adapt different layers (one of them lacks {odd}). "
                "Merge updates of the same LoRA targets."
            )
        check_update(update, shapes, where, f"Merge updates of one model; that of '{first_name}' has another.")
        update.check_finite(where)


def client_shares(clients: Iterable[str], weights: Mapping[str, float] | None = None) -> Tensor:
    """Weights of the clients as shares, (K,) float64 that sum to 1; None is uniform.

    SapError where a weight is no positive number below MOST_WEIGHT, beside which another's could vanish.
    """
    clients = tuple(clients)
    if weights is None:
        return torch.full((len(clients),), 1 / len(clients), dtype=torch.float64)
    bad = [client for client in clients if not _is_weight(weights.get(client))]
    if bad:
        got = repr(weights.get(bad[0]))[:40]
        raise SapError(
            f"client '{bad[0]}' must have a positive weight or sample count below 2**53, got {got}. Mend it."
        )
    counts = torch.tensor([float(weights[client]) for client in clients], dtype=torch.float64)
    return counts / counts.sum()


def _is_weight(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 < cast(float, value) < MOST_WEIGHT


def check_update(
    update: Update, model_shapes: Mapping[str, tuple[int, ...]], where: str = "update", step: str = OWN_MODEL
) -> None:
    """SapError naming `where`, the layer and the next step unless every layer is in `model_shapes` with its (m, n)."""
    for layer in update:
        if layer not in model_shapes:
            raise SapError(f"{where}: layer {layer} does not exist in the backbone. {step}")
        if tuple(model_shapes[layer]) != update.shape(layer):
            raise SapError(
                f"{where}: layer {layer} must have shape {tuple(model_shapes[layer])}, got {update.shape(layer)}. "
                f"{step}"
            )


def save_update(path: str | Path, update: Update, metadata: Mapping[str, str] | None = None) -> None:
    """Write an update to safetensors, atomically: keys `{layer}/A`, `{layer}/B`, or `{layer}` where it is dense."""
    tensors: dict[str, Tensor] = {}
    for layer, entry in update.items():
        named = (
            zip((f"{layer}/A", f"{layer}/B"), entry, strict=True) if isinstance(entry, Factors) else [(layer, entry)]
        )
        tensors |= {name: tensor.clone() for name, tensor in named}  # safetensors refuses shared memory
    save_tensors(path, tensors, metadata)


def load_update(path: str | Path) -> Update:
    """Read what `save_update` wrote."""
    tensors = load_tensors(path)
    layers: dict[str, Entry] = {}
    for name, tensor in tensors.items():
        layer, _, factor = name.partition("/")
        if factor not in ("", "A", "B") or (factor and f"{layer}/{'AB'.replace(factor, '')}" not in tensors):
            raise SapError(f"{path}: unexpected key {name}. Delete the file and build it again with: snakemake {path}")
        layers[layer] = Factors(tensors[f"{layer}/A"], tensors[f"{layer}/B"]) if factor else tensor
    return Update(layers)


def load_adapter(folder: str | Path) -> Update:
    """The update of a PEFT adapter folder; float32, scale folded into B.

    The upload is untrusted: SapError names the file and the layer if anything is not as a plain LoRA must be.
    """
    return Update(read_adapter(folder))


def _parameter(model: nn.Module, layer: str, size: tuple[int, int]) -> nn.Parameter:
    try:
        parameter = model.get_parameter(layer)
    except AttributeError as error:
        raise SapError(f"update: layer {layer} does not exist in the backbone. {OWN_MODEL}") from error
    check_update(Update({layer: torch.empty(size, device="meta")}), {layer: tuple(parameter.shape)})
    return parameter


@torch.inference_mode(False)
@torch.no_grad()
def _sum_of_weights(weight: Tensor, entry: Entry) -> Tensor:
    precise = torch.float32 if weight.dtype in (torch.float16, torch.bfloat16) else weight.dtype
    delta = dense(map_tensors(lambda tensor: tensor.to(weight.device, precise), entry))
    return (weight.to(precise) + delta).to(weight.dtype)


def _check_same_layers(a: Update, b: Update) -> None:
    check_alike({"left": a, "right": b})


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that orders numbers by value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
