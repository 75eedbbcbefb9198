"""Scaling: ΔW = s · ΔW_own, so that an average that divides by the number of clients no longer dilutes the attacker.

Model replacement of Bagdasaryan et al., AISTATS 2020, arXiv:1807.00459: s = n/f lets the mean of n clients hold the
mean of the f attackers in full. It needs an update that is harmful already, trained on wrong labels or a backdoor.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sap.attack._api import Extras, attack
from sap.config import option
from sap.update import Update


@dataclass(frozen=True)
class Options:
    strength: float | None = option(None, "s: the attacker's own update, times this; null is n/f", above=0)


@attack("scaling", citation="arXiv:1807.00459", options=Options)
def scaling(own: Update, honest: Mapping[str, Update], options: Options, extras: Extras) -> Update:
    """The attacker's own update, enlarged until no average dilutes it."""
    return own.scaled(options.strength or extras.n_clients / extras.n_attackers)
