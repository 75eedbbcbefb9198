"""Bulyan: select clients by Krum, then average per coordinate what lies nearest to their median.

    S: θ = n − 2f clients                                          chosen on whole models
    ΔW*[i, j] = mean of the θ − 2f values of S nearest to the median of S       (m, n)

El Mhamdi et al., ICML 2018, arXiv:1802.07927, valid for n ≥ 4f+3. `selection: iterated` runs Krum θ times, each time
without those already chosen (n' clients left: max(1, n' − f − 2) neighbours), as published and as Flower's
aggregate_bulyan; `one_shot` takes the θ best of one ranking, as Flower's strategy does. f null is the largest valid
f, at least 1: with f = 0 Bulyan would be the mean. Ties are broken as in Krum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from sap import validity
from sap.config import option
from sap.merge._api import merge_method
from sap.merge._robust import (
    by_coordinate,
    client_names,
    entrywise_mean_around_median,
    gram,
    krum_order,
    squared_distances,
    subset,
)
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    f: int | None = option(None, "clients that may be malicious; null is the largest f with n >= 4f+3", low=1)
    selection: str = option(
        "iterated", "Krum again after each choice, or the best of one ranking", choices=("iterated", "one_shot")
    )


@merge_method(
    "bulyan",
    paper="arXiv:1802.07927",
    family="robust",
    options=Options,
    scope="model",
    check=validity.bulyan,
)
def bulyan(stacks: Mapping[str, Stack], options: Options) -> dict[str, Tensor]:
    """Bulyan: clients selected by Krum, then per coordinate the mean of the values nearest to their median."""
    names = client_names(stacks)
    f = validity.BULYAN.tolerated(len(names), options.f)
    chosen = select(squared_distances(gram(stacks)), f, names, options.selection)
    count = len(chosen) - 2 * f
    return {
        layer: by_coordinate(
            subset(stacks[layer], chosen), lambda values, _: entrywise_mean_around_median(values, count)
        )
        for layer in stacks
    }


def select(distances: Tensor, f: int, names: Sequence[str], selection: str) -> list[int]:
    """Positions of the n − 2f clients that enter the second step, in ascending order."""
    left, chosen = list(range(len(names))), []
    if selection == "one_shot":
        chosen = krum_order(distances, len(left) - f - 2, names)[: len(left) - 2 * f]
    while len(chosen) < len(names) - 2 * f:
        neighbours = max(1, len(left) - f - 2)
        best = krum_order(distances[left][:, left], neighbours, [names[k] for k in left])[0]
        chosen.append(left.pop(best))
    return sorted(chosen)
