"""Which layers clients share, and an update of zero for those that one of them lacks."""

from collections import Counter
from collections.abc import Mapping

import torch

from sap.errors import SapError
from sap.factors import map_tensors
from sap.update import Update


def same_layers(updates: Mapping[str, Update], missing: str) -> tuple[dict[str, Update], dict[str, int]]:
    """(the updates with the same layers, layer -> how many had it).

    `missing`: "refuse" is a SapError naming the first layer that a client lacks; "zero" takes it as an update of zero.
    SapError, too, where the clients fall into groups that share no layer, such as those of two models.
    """
    _check_related(updates)
    entries = {layer: entry for name in sorted(updates) for layer, entry in updates[name].items()}
    having = {layer: [name for name in sorted(updates) if layer in updates[name]] for layer in Update(entries)}
    for layer, names in having.items():
        lacking = [name for name in sorted(updates) if name not in names]
        if lacking and missing == "refuse":
            raise SapError(
                f"adapter '{lacking[0]}' does not adapt layer {layer}, adapter '{names[0]}' does. Merge adapters of "
                "the same layers, or take an absent layer as an update of zero with --missing zero."
            )
    zeros = {layer: map_tensors(torch.zeros_like, entry) for layer, entry in entries.items()}
    filled = {name: Update(zeros | dict(update)) for name, update in updates.items()}
    return filled, {layer: len(names) for layer, names in having.items()}


def describe(counts: Mapping[str, int], n_clients: int) -> str:
    """How many layers are shared by how many clients, each with its first layer: `6: 4 in all 2; 2 in 1 (a.weight, …)`.

    `counts`: layer -> how many clients had it.
    """
    by_count = Counter(counts.values())
    if set(by_count) == {n_clients}:
        return str(len(counts))
    parts = []
    for count, number in sorted(by_count.items(), reverse=True):
        first = next(layer for layer in counts if counts[layer] == count)
        named = "" if count == n_clients else f" ({first}{', …' if number > 1 else ''})"
        parts.append(f"{number} in {'all ' if count == n_clients else ''}{count}{named}")
    return f"{len(counts)}: {'; '.join(parts)}"


def _check_related(updates: Mapping[str, Update]) -> None:
    """SapError naming two clients with no layer in common, directly or over others that share some with both."""
    names = sorted(updates)
    group, layers = {names[0]}, set(updates[names[0]])
    while more := {name for name in names if name not in group and layers & set(updates[name])}:
        group |= more
        layers = layers.union(*(updates[name] for name in more))
    alone = next((name for name in names if name not in group), None)
    if alone is not None:
        raise SapError(
            f"adapters '{names[0]}' and '{alone}' share no layer: one adapts {next(iter(updates[names[0]]))}, the "
            f"other {next(iter(updates[alone]))}. They are of different models or parts of one; there is nothing to "
            "merge. Merge adapters of the same base model and modules."
        )
