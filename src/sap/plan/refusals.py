"""Points that no job could merge, as the plan knows before any client is trained. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from sap import validity
from sap.errors import SapError
from sap.plan.points import Point
from sap.plan.trainees import NOBODY
from sap.plans import parts
from sap.registry import unknown


def refusal(settings: Mapping[str, Any], folds: Mapping[str, Sequence[str]], declared: Mapping[str, Any]) -> str | None:
    """Why some fold cannot merge a point, with that fold; None where all can.

    `folds` maps the domain that is held out, or NOBODY, to the names of the clients that merge there; `declared` holds
    the declarations of `merge` methods and `attacks` (the schema's $defs).
    """
    for target, clients in folds.items():
        reason = _refusal(settings, clients, declared)
        if reason:
            where = "Where every domain has a client" if target == NOBODY else f"Where {target} is held out"
            return f"{reason} ({where}, {len(clients)} merge.)"
    return None


def check_patches(points: Iterable[Point]) -> None:
    """SapError unless all backdoors have one patch: the domains are judged with it once."""
    attacks = [point.settings["attack"] for point in points if "attack" in point.settings]
    sizes = {attack["patch_size"] for attack in attacks if attack["kind"] == "backdoor"}
    if len(sizes) > 1:
        raise SapError(f"points: the backdoors of one experiment must share a patch_size, got {sorted(sizes)}.")


def _refusal(settings: Mapping[str, Any], clients: Sequence[str], declared: Mapping[str, Any]) -> str | None:
    """A method's own rule comes first, then options that name a client who is not there, then attacks without honest
    clients."""
    for part in parts(settings):
        problem = _merge_refusal(part["merge"], clients, declared) if "merge" in part else None
        if problem:
            return problem
    if "attack" not in settings:
        return None
    attack, honest = settings["attack"], [name for name in clients if name not in settings["attackers"]]
    if not honest and settings.get("attacker_weight") is not None:
        return "attacker_weight needs a client that does not attack. Name fewer attackers."
    if not honest and declared["attacks"][attack["kind"]]["acts_on"] == "update":
        return f"all {len(clients)} clients attack, and {attack['kind']} needs an honest one. Name fewer attackers."
    if attack["kind"] == "mimic" and attack["client"] is not None and attack["client"] not in honest:
        return f"attack.client: {unknown('honest client', attack['client'], honest)}"
    return None


def _merge_refusal(merge: Mapping[str, Any], clients: Sequence[str], declared: Mapping[str, Any]) -> str | None:
    rule = declared["merge"][merge["method"]]["check"]
    problem = rule and getattr(validity, rule)(len(clients), SimpleNamespace(**merge))
    if problem:
        return problem
    if merge.get("pivot") is not None and merge["pivot"] not in clients:
        return f"merge.pivot: {unknown('client', merge['pivot'], list(clients))}"
    return None
