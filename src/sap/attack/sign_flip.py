"""Sign flip: the attacker sends its own update the other way round, ΔW = −s · ΔW_own, s = 1.

Li et al., AAAI 2019, arXiv:1811.03761. ByzFL's SignFlipping sends the negated mean of the honest clients: here that is
`inner_product` with strength 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sap.attack._api import Extras, attack
from sap.config import option
from sap.update import Update


@dataclass(frozen=True)
class Options:
    strength: float = option(1.0, "s: the attacker's own update, times minus this", above=0)


@attack("sign_flip", citation="arXiv:1811.03761", options=Options)
def sign_flip(own: Update, honest: Mapping[str, Update], options: Options, extras: Extras) -> Update:
    """The attacker's own update, negated."""
    return own.scaled(-options.strength)
