"""A Little Is Enough: every entry as far from the honest mean as the honest clients' own spread can hide.

    ΔW = μ − z · σ                 μ, σ: mean and standard deviation (n − 1 below) of each entry over the honest clients
    z = Φ⁻¹((n − f − s)/(n − f)),  s = ⌊n/2 + 1⌋ − f the honest clients that must lie beyond the attackers

Baruch, Baruch and Goldberg, NeurIPS 2019, arXiv:1902.06156; n clients, f attackers. The formula asks for nearly half
of the clients: with fewer attackers (n = 4, f = 1 gives −0.43, n = 10, f = 2 gives 0) or a majority of them it has no
positive finite value, and z is 1.5, ByzFL's default. ByzFL adds z · σ; the side is a convention.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from sap.attack._api import Extras, attack
from sap.attack._honest import mean_of, spread
from sap.config import option
from sap.update import Update

WITHOUT_MAJORITY = 1.5


@dataclass(frozen=True)
class Options:
    z: float | None = option(
        None, "standard deviations below the honest mean; null is the paper's, or 1.5 where that is not positive"
    )


@attack("alie", citation="arXiv:1902.06156", options=Options, needs={"honest"}, colludes=True)
def alie(own: Update, honest: Mapping[str, Update], options: Options, extras: Extras) -> Update:
    """A Little Is Enough: the honest mean, shifted by the honest clients' own spread."""
    z = largest_hidden(extras.n_clients, extras.n_attackers) if options.z is None else options.z
    mean = mean_of(honest)
    return Update({layer: mean.dense(layer) - z * spread(honest, mean, layer) for layer in mean})


def largest_hidden(n: int, f: int) -> float:
    """z of the paper for n clients with f attackers, or 1.5 where it is not positive and finite."""
    beyond = n // 2 + 1 - f
    share = (n - f - beyond) / (n - f)
    return NormalDist().inv_cdf(share) if 0.5 < share < 1 else WITHOUT_MAJORITY
