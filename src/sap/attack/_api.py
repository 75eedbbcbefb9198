"""Registration of attacks, and the one way to run those that act on updates.

An attack on labels is an options class: the attacker trains on what `sap.attack.labels` makes of its labels, and
uploads what came of it. An attack on updates is one function in one file,

    fn(own, honest, options, extras) -> Update

`own`: what the attacker would have sent; `honest`: name -> Update of the clients that do not attack. It replaces the
attacker's upload and touches none of its arguments. The registration declares what the attacker must know.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sap.config import parse, schema_of
from sap.errors import SapError
from sap.factors import is_finite, tensors_of
from sap.io import seed_of
from sap.needs import check_needs
from sap.registry import Registry, unknown
from sap.update import Update, check_alike

ATTACK_NEEDS = ("honest", "rng", "gradient", "root")
Gradient = Callable[[Update], Mapping[str, Tensor]]
Root = Callable[[], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Extras:
    """What an attack on updates may read besides uploads. What it declared no need of is None, whatever its type.

    rng: name of a layer -> generator of this attacker; gradient: Update -> {layer: (m, n)}; root: () -> {layer: (m, n)}
    """

    n_clients: int
    n_attackers: int
    rng: Callable[[str], torch.Generator]
    gradient: Gradient
    root: Root


@dataclass(frozen=True)
class Attack:
    """One attack and what it declared; `function` is None where it acts on labels."""

    name: str
    function: Callable[..., Update] | None
    summary: str
    module: str
    citation: str
    options: type
    needs: frozenset[str]
    colludes: bool


ATTACKS: Registry[Attack] = Registry("attack")


def attack(
    name: str, citation: str, options: type, needs: set[str] | frozenset[str] = frozenset(), colludes: bool = False
) -> Callable:
    """Register an attack on updates.

    `options`: dataclass of `sap.config.option` fields; `needs`: of ATTACK_NEEDS (see sap.needs), the rest is None;
    `colludes`: all attackers send the same update, so the function does not read `own`.
    """
    check_needs(f"attack {name}", needs, ATTACK_NEEDS)

    def register(function: Callable[..., Update]) -> Callable[..., Update]:
        _add(name, function, function, citation, options, frozenset(needs), colludes)
        return function

    return register


def label_attack(name: str, citation: str) -> Callable[[type], type]:
    """Register an attack on labels: decorates its options, which are those of the config's `corruption` section."""

    def register(options: type) -> type:
        _add(name, options, None, citation, options, frozenset(), False)
        return options

    return register


def _add(name: str, described: Any, function: Callable | None, *declared: Any) -> None:
    summary = (described.__doc__ or "").strip().split("\n")[0]
    ATTACKS.add(name, Attack(name, function, summary, described.__module__, *declared))


def attack_updates(
    name: str,
    options: Mapping[str, Any],
    updates: Mapping[str, Update],
    attackers: Sequence[str],
    seed: int,
    gradient: Gradient | None = None,
    root: Root | None = None,
) -> dict[str, Update]:
    """`updates` with those of `attackers` replaced by what they send instead; the clients keep their order.

    The honest are all other clients, at least one. `seed` decides every draw, together with the names of attack and
    attacker. `gradient` and `root`: see `Extras`; None where this run has no anchors.
    Raises SapError for names and options that do not exist, an attack on labels, a need that is not met, and for a
    result that is not finite.
    """
    entry = ATTACKS[name]
    if entry.function is None:
        raise SapError(f"attack.{name} acts on labels, not updates. Train the attackers with corruption.kind: {name}.")
    parsed = parse(entry.options, options, f"attack.{name}")
    check_alike(updates)
    for client in attackers:
        if client not in updates:
            raise SapError(f"attackers: {unknown('client', client, list(updates))}")
    honest = {client: update for client, update in updates.items() if client not in attackers}
    if not honest:
        raise SapError(f"attack.{name}: all {len(updates)} clients attack. Name at least one client less.")
    offered = {"gradient": gradient, "root": root}
    for need in sorted(entry.needs & offered.keys()):
        if offered[need] is None:
            raise SapError(f"attack.{name} needs {need}, which this run does not have. Choose another attack.")
    sent: dict[str, Update] = {}
    for client in [name for name in updates if name not in honest]:
        if entry.colludes and sent:
            sent[client] = next(iter(sent.values()))
            continue
        declared: dict[str, Any] = {need: offered[need] if need in entry.needs else None for need in offered}
        declared["rng"] = _generators(name, client, seed) if "rng" in entry.needs else None
        extras = Extras(len(updates), len(updates) - len(honest), **declared)
        sent[client] = entry.function(updates[client], honest if "honest" in entry.needs else {}, parsed, extras)
        _check_finite(sent[client], name, client)
    return {client: sent.get(client, update) for client, update in updates.items()}


def _generators(name: str, client: str, seed: int) -> Callable[[str], torch.Generator]:
    return lambda label: torch.Generator().manual_seed(seed_of("attack", name, client, label, seed))


def _check_finite(update: Update, name: str, client: str) -> None:
    for layer, entry in update.items():
        if not all(map(is_finite, tensors_of(entry))):
            raise SapError(f"attack.{name}: layer {layer} of attacker '{client}' holds NaN or Inf. Lower its strength.")


def describe() -> dict[str, dict[str, Any]]:
    """Name -> what was declared, as plain JSON: schema, docs and ledger come from it."""
    return {
        name: {
            "module": entry.module,
            "summary": entry.summary,
            "citation": entry.citation,
            "acts_on": "update" if entry.function else "labels",
            "needs": sorted(entry.needs),
            "colludes": entry.colludes,
            "options": schema_of(entry.options),
        }
        for name, entry in ATTACKS.items()
    }
