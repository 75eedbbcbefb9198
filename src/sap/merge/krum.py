"""Krum and Multi-Krum: the clients that lie closest to their nearest neighbours.

    s_k = Σ_{j ∈ N_k} ‖x_k − x_j‖²       N_k: the nearest other clients, x_k: all layers of client k in one vector
    ΔW* = x_k of the least s_k (krum), mean of the m clients of least s_k (multi_krum)

Blanchard et al., NeurIPS 2017, arXiv:1703.02757. `neighbours` is |N_k| and with it the validity:

    paper    n − f − 2           n ≥ 2f+3, the published rule
    byzfl    n − f − 1           n ≥ 2f+1; n − f with the client itself (Allouah et al., 2023, arXiv:2302.01772)
    flower   max(1, n − f − 2)   n ≥ 2f+1; outside the theorem where n < 2f+3, as Flower computes it

f null is the largest valid f: with three clients 0 for `paper`, 1 for the others. m null is |N_k|, for `byzfl`
n − f as in ByzFL. With one neighbour the two nearest clients always tie; then the next nearest client decides, in the
end the client's name, never the order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sap import validity
from sap.config import option
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._robust import client_names, gram, krum_order, mean_of, squared_distances
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    f: int | None = option(
        None, "clients that may be malicious; null is the largest f that `neighbours` is valid for", low=0
    )
    neighbours: str = option(
        "paper",
        "others that count: n-f-2 (n >= 2f+3), n-f-1 (n >= 2f+1), or max(1, n-f-2) (n >= 2f+1)",
        choices=tuple(validity.KRUM),
    )


@dataclass(frozen=True)
class MultiOptions(Options):
    m: int | None = option(None, "clients to average; null is the number of neighbours, for `byzfl` n-f", low=1)


def count_neighbours(n: int, options: Options) -> int:
    """How many others count in a client's score."""
    f = validity.KRUM[options.neighbours].tolerated(n, options.f)
    return {"paper": n - f - 2, "byzfl": n - f - 1, "flower": max(1, n - f - 2)}[options.neighbours]


@merge_method(
    "krum",
    paper="arXiv:1703.02757",
    family="robust",
    options=Options,
    scope="model",
    check=validity.krum,
)
def krum(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """Krum: the one client that lies closest to its nearest neighbours."""
    return mean_of(stacks, _ranking(stacks, options)[:1])


@merge_method(
    "multi_krum",
    paper="arXiv:1703.02757",
    family="robust",
    options=MultiOptions,
    scope="model",
    check=validity.multi_krum,
)
def multi_krum(stacks: Mapping[str, Stack], options: MultiOptions) -> dict[str, Entry]:
    """Multi-Krum: mean of the m clients that lie closest to their nearest neighbours."""
    ranking = _ranking(stacks, options)
    m = options.m or count_neighbours(len(ranking), options) + (options.neighbours == "byzfl")
    return mean_of(stacks, ranking[:m])


def _ranking(stacks: Mapping[str, Stack], options: Options) -> list[int]:
    names = client_names(stacks)
    return krum_order(squared_distances(gram(stacks)), count_neighbours(len(names), options), names)
