"""Spherical interpolation between two clients.

    φ   = angle between ΔW_1 and ΔW_2, clients in the order of their names
    ΔW* = sin((1 − t)φ)/sin φ · ΔW_1 + sin(tφ)/sin φ · ΔW_2        (m, n), factors stay factors

Shoemake, SIGGRAPH 1985. `slerp`: one angle for the layer, t given; linear where |cos φ| > 0.9995, as mergekit and
fusion-bench. On weights φ is nearly 0 and SLERP nothing but the mean: here it is on updates, as in `nuslerp` of
mergekit (Goddard et al., EMNLP 2024, arXiv:2403.13257), where t is the second client's share (1/2, or by sample
count), `unit: row` and `column` have their own angles, and only exactly parallel units are interpolated linearly.
The authors' `nuslerp_row_wise` means columns. A zero unit is at 90°.
"""

from dataclasses import dataclass

import torch

from sap.config import option
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._inner_products import combine, cosines, inner_products
from sap.update import Stack
from sap.validity import two_clients


@dataclass(frozen=True)
class Slerp:
    t: float = option(0.5, "0 is the first client by name, 1 the second", low=0, high=1)


@dataclass(frozen=True)
class NuSlerp:
    weights: str = option("uniform", "t is 1/2, or the second client's sample share", choices=("uniform", "samples"))
    unit: str = option("layer", "what has an angle of its own", choices=("layer", "row", "column"))


@merge_method("slerp", paper="Shoemake, SIGGRAPH 1985", family="average", options=Slerp, check=two_clients)
def slerp(stack: Stack, options: Slerp) -> Entry:
    """Spherical interpolation between two clients' layers."""
    return _interpolate(stack, options.t, "layer", linear_above=0.9995)


@merge_method(
    "nuslerp",
    paper="arXiv:2403.13257",
    family="average",
    options=NuSlerp,
    needs={"counts": {"weights": ("samples",)}},
    check=two_clients,
)
def nuslerp(stack: Stack, options: NuSlerp) -> Entry:
    """Spherical interpolation between two clients by sample share, per layer, row or column."""
    _, second = sorted(range(2), key=stack.clients.__getitem__)
    t = float(stack.weights[second]) if options.weights == "samples" else 0.5
    return _interpolate(stack, t, options.unit, linear_above=1 - 1e-16)


def _interpolate(stack: Stack, t: float, unit: str, linear_above: float) -> Entry:
    entries = list(stack.entries())
    cosine = cosines(inner_products(entries, unit))[:, 0, 1]
    is_linear = cosine.abs() > linear_above
    angle = torch.where(is_linear, torch.pi / 2, cosine.acos())
    shares = [1 - t, t] if stack.clients[0] < stack.clients[1] else [t, 1 - t]
    weights = [torch.where(is_linear, share, torch.sin(share * angle) / torch.sin(angle)) for share in shares]
    return combine(entries, torch.stack(weights, dim=1), unit)
