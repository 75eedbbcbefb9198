"""Mimic: all attackers send what one honest client sent, so that its data count f + 1 times.

Karimireddy, He and Jaggi, ICLR 2022, arXiv:2006.09365. Nothing is forged, so no rule can tell the copies from the
original. The published choice is the client that lies farthest along the direction in which the honest differ most,

    i* = argmax_i |<z, x_i>|,   z = argmax_{‖z‖=1} Σ_i <z, x_i − μ>²

from one round's uploads, where the paper has a warm-up. z has no sign, so the absolute value counts; the authors' code
takes <z, x_i> for the z of one power step from a random start. Ties go by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sap.attack._api import Extras, attack
from sap.attack._honest import gram
from sap.config import option
from sap.errors import SapError
from sap.registry import unknown
from sap.update import Update


@dataclass(frozen=True)
class Options:
    client: str | None = option(
        None, "the honest client to copy; null takes the farthest along the honest clients' first principal direction"
    )


@attack("mimic", citation="arXiv:2006.09365", options=Options, needs={"honest"}, colludes=True)
def mimic(own: Update, honest: Mapping[str, Update], options: Options, extras: Extras) -> Update:
    """A copy of one honest client."""
    client = options.client or farthest(honest)
    if client not in honest:
        raise SapError(f"attack.mimic.client: {unknown('honest client', client, honest)}")
    return honest[client]


def farthest(honest: Mapping[str, Update]) -> str:
    """The client of largest |<z, x_i>|; z = Σ_j v_j x_j, v the first eigenvector of the centred Gram (Σ_j v_j = 0)."""
    products = gram(honest)
    centred = products - products.mean(0) - products.mean(1, keepdim=True) + products.mean()
    weights = torch.linalg.eigh(centred).eigenvectors[:, -1]
    reach = (products @ weights).abs()
    return min(zip(honest, reach.tolist(), strict=True), key=lambda pair: (-float(f"{pair[1]:.9g}"), pair[0]))[0]
