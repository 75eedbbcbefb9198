"""Inner product manipulation: ΔW = −ε · μ, μ the mean of the honest clients.

Xie, Koyejo and Gupta, UAI 2019, arXiv:1903.03936. The mean of n clients, f of them attackers, becomes
((n − f) − ε·f)/n · μ: it points the wrong way from ε > (n − f)/f on; a small ε only shortens it, but stays near the
honest clients and so misleads rules that choose by distance. ε = 2 as in ByzFL.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sap.attack._api import Extras, attack
from sap.attack._honest import mean_of
from sap.config import option
from sap.update import Update


@dataclass(frozen=True)
class Options:
    strength: float = option(2.0, "epsilon: the honest clients' mean, times minus this", above=0)


@attack("inner_product", citation="arXiv:1903.03936", options=Options, needs={"honest"}, colludes=True)
def inner_product(own: Update, honest: Mapping[str, Update], options: Options, extras: Extras) -> Update:
    """The honest clients' mean, negated and scaled."""
    return mean_of(honest).scaled(-options.strength)
