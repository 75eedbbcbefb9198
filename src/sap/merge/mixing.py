"""Rules that average each client's nearest neighbours; distances are those of whole models, n clients.

    N_k: the n − f clients nearest to client k, itself among them
    nearest_neighbour_mixing   y_k = (1/(n − f)) Σ_{j ∈ N_k} x_j, then `inner` of y_1 … y_n per coordinate
    monna                      ΔW* = y_p of a pivot p

Allouah et al., AISTATS 2023, arXiv:2302.01772; Farhadkhani et al., ICML 2023, arXiv:2209.10931. Both are valid for
n ≥ 2f+1; f null is the largest such f. `inner: trimmed_mean` trims f on each side. In MoNNA the pivot is the peer
that aggregates and trusts itself; a server has no such client, so null takes the one whose n − f − 1 nearest others
are closest (Krum, ByzFL's count), a name takes that client (a run without it is refused). Ties go by the client's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.errors import SapError
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._robust import (
    ascending,
    by_coordinate,
    client_names,
    entrywise_median,
    entrywise_trimmed_mean,
    gram,
    krum_order,
    mean_of,
    squared_distances,
    weighted_model,
)
from sap.update import Stack
from sap.validity import MAJORITY, majority


@dataclass(frozen=True)
class MixingOptions:
    f: int | None = option(None, "clients that may be malicious; null is the largest f with n >= 2f+1", low=0)
    inner: str = option(
        "trimmed_mean", "rule for the mixed clients, per coordinate", choices=("trimmed_mean", "mean", "median")
    )


@dataclass(frozen=True)
class PivotOptions:
    f: int | None = option(None, "clients that may be malicious; null is the largest f with n >= 2f+1", low=0)
    pivot: str | None = option(None, "the trusted client's name; null is the one closest to its nearest others")


@merge_method(
    "nearest_neighbour_mixing",
    paper="arXiv:2302.01772",
    family="robust",
    options=MixingOptions,
    scope="model",
    check=majority,
)
def nearest_neighbour_mixing(stacks: Mapping[str, Stack], options: MixingOptions) -> dict[str, Entry]:
    """Nearest-neighbour mixing: each client becomes the mean of its neighbours, then a coordinate-wise rule."""
    names = client_names(stacks)
    f = MAJORITY.tolerated(len(names), options.f)
    distances = squared_distances(gram(stacks))
    mixing = torch.zeros_like(distances)
    for client in range(len(names)):
        mixing[client, neighbours(distances, client, len(names) - f, names)] = 1 / (len(names) - f)
    if options.inner == "mean":
        return weighted_model(stacks, mixing.mean(0))

    def reduce(values: Tensor, _: slice) -> Tensor:
        mixed = (mixing.to(values) @ values.flatten(1)).view_as(values)
        return entrywise_median(mixed) if options.inner == "median" else entrywise_trimmed_mean(mixed, f)

    return {layer: by_coordinate(stacks[layer], reduce) for layer in stacks}


@merge_method(
    "monna",
    paper="arXiv:2209.10931",
    family="robust",
    options=PivotOptions,
    scope="model",
    check=majority,
)
def monna(stacks: Mapping[str, Stack], options: PivotOptions) -> dict[str, Entry]:
    """Nearest-neighbour averaging (MoNNA): mean of the n − f clients nearest to a pivot."""
    names = client_names(stacks)
    if options.pivot is not None and options.pivot not in names:
        raise SapError(
            f"merge.monna: the pivot '{options.pivot}' is not among the clients {', '.join(names)}. "
            "Name one of them, or null."
        )
    count = len(names) - MAJORITY.tolerated(len(names), options.f)
    distances = squared_distances(gram(stacks))
    pivot = krum_order(distances, count - 1, names)[0] if options.pivot is None else names.index(options.pivot)
    return mean_of(stacks, neighbours(distances, pivot, count, names))


def neighbours(distances: Tensor, client: int, count: int, names: Sequence[str]) -> list[int]:
    """Positions of the `count` clients nearest to one, that one first."""
    row = distances[client].clone()
    row[client] = -1
    return ascending(names, row)[:count]
