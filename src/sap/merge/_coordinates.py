"""What KnOTS and Core Space share: TIES or DARE on the clients' coordinates in a common basis."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.merge._combine import by_sign, by_sum
from sap.selection import Cut, find_cut, find_threshold, floor_share, kept
from sap.update import Stack


@dataclass(frozen=True)
class InnerOptions:
    inner: str = option(
        "ties", "merge rule of the coordinates; `mean` is the plain mean", choices=("ties", "dare_ties", "mean")
    )
    density: float = option(0.2, "share of coordinates each client keeps under `ties`", above=0, high=1)
    drop: float = option(0.1, "share of coordinates each client drops at random under `dare_ties`", low=0, below=1)
    kept: str = option(
        "exact",
        "`exact` keeps ⌊density·N⌋, `inclusive` the next one and all as large as that, too (the authors' code)",
        choices=("exact", "inclusive"),
    )


def trim_cut(magnitudes: list[Tensor], options: InnerOptions) -> Cut:
    """The cut that leaves one client `density` of all these coordinates."""
    total = sum(magnitude.numel() for magnitude in magnitudes)
    find = find_threshold if options.kept == "inclusive" else find_cut
    return find(magnitudes, total - floor_share(options.density, total))


def merge_coordinates(
    stack: Stack,
    coordinates: Callable[[int], Tensor],
    keep: Callable[[int, Tensor], Tensor] | None,
    options: InnerOptions,
) -> Tensor:
    """One layer's coordinates merged, client by client.

    `coordinates(k)`: client k's; `keep(k, magnitudes)`: the mask of its trim, None for one threshold per layer.
    """
    K = len(stack.clients)
    if options.inner == "mean":
        return by_sum(coordinates(k) for k in range(K))

    def thinned(k: int) -> Tensor:
        values = coordinates(k)
        if options.inner == "dare_ties":
            drawn = torch.rand(values.shape, generator=stack.extras["rng"](stack.clients[k]))
            return values * (drawn >= options.drop).to(values.device) / (1 - options.drop)
        magnitude = values.abs()
        return values * (keep(k, magnitude) if keep else kept(magnitude, trim_cut([magnitude], options)))

    return by_sign(thinned(k) for k in range(K))
