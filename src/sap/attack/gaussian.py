"""Gaussian: noise Z instead of an update, Z_ij ~ N(0, 1) scaled layer by layer to ‖Z‖ = s · ‖μ‖, s = 1.

Blanchard et al., NeurIPS 2017, arXiv:1703.02757, with one standard deviation for all entries, 200. Here μ, the mean of
the honest clients, sets the scale: strength 1 is noise as large as what it drowns. Every attacker draws its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sap.attack._api import Extras, attack
from sap.attack._honest import mean_of
from sap.config import option
from sap.factors import tensors_of
from sap.update import Update


@dataclass(frozen=True)
class Options:
    strength: float = option(1.0, "s: norm of a layer's noise over that of the honest clients' mean", above=0)


@attack("gaussian", citation="arXiv:1703.02757", options=Options, needs={"honest", "rng"})
def gaussian(own: Update, honest: Mapping[str, Update], options: Options, extras: Extras) -> Update:
    """Noise of the honest mean's norm, layer by layer."""
    noise = Update({layer: torch.randn(own.shape(layer), generator=extras.rng(layer)) for layer in own})
    lengths, wanted = noise.norms(), mean_of(honest).norms()
    like = tensors_of(next(iter(own.values())))[0]
    return noise.scaled({layer: options.strength * wanted[layer] / lengths[layer] for layer in own}).to(like)
