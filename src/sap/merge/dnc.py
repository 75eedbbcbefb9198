"""Divide and conquer: drop the clients that stand out along the direction in which the clients differ most.

    x_k: b sampled coordinates of client k, μ: their mean, v: top right singular vector of (x_k − μ)_k
    keep the ⌊n − c·f⌋ clients with the least <x_k − μ, v>²
    ΔW* = mean of the clients kept in every iteration, all coordinates

Shejwalkar and Houmansadr, NDSS 2021. The defaults are one iteration and c = 1, as there, but all coordinates instead
of b = 10,000 samples: <x_k − μ, v> comes from the clients' (K, K) Gram, so there is no reason to sample (with all
coordinates more iterations repeat the first). Over iterations the kept sets are intersected, as published (MarsFL and
Blades unite them). Valid for n ≥ 2f+1; f null is the largest such f.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sap import validity
from sap.config import option
from sap.errors import SapError
from sap.factors import Entry, Factors, shape
from sap.merge._api import merge_method
from sap.merge._robust import ascending, client_names, gram, mean_of
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    f: int | None = option(None, "clients that may be malicious; null is the largest f with n >= 2f+1", low=0)
    iterations: int = option(1, "times that coordinates are drawn; a client must be kept each time", low=1)
    coordinates: int | None = option(None, "coordinates of the whole model in each iteration; null is all", low=1)
    c: float = option(1.0, "clients dropped in each iteration, as a multiple of f", above=0)


@merge_method(
    "dnc",
    paper="Shejwalkar and Houmansadr, NDSS 2021",
    family="robust",
    options=Options,
    scope="model",
    needs={"rng"},
    check=validity.dnc,
)
def dnc(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """Divide and conquer: mean without the clients that stand out along the top singular vector."""
    names = client_names(stacks)
    products = [gram(stacks)] if options.coordinates is None else sampled_grams(stacks, options)
    rounds = [kept(part, len(names) - validity.dropped_by_dnc(len(names), options), names) for part in products]
    common = sorted(set(rounds[0]).intersection(*rounds[1:]))
    if not common:
        raise SapError(
            f"merge.dnc: no client was kept in all {options.iterations} iterations. Lower iterations, c or f, "
            "or raise coordinates."
        )
    return mean_of(stacks, common)


def kept(products: Tensor, count: int, names: Sequence[str]) -> list[int]:
    """Positions of the clients with the least squared projection on the top direction, from a Gram, ascending."""
    centred = products - products.mean(0) - products.mean(1, keepdim=True) + products.mean()
    left = torch.linalg.eigh((centred + centred.T) / 2).eigenvectors[:, -1]  # <x_k − μ, v> = σ · left[k]
    return sorted(ascending(names, left**2)[:count])


def sampled_grams(stacks: Mapping[str, Stack], options: Options) -> list[Tensor]:
    """Gram of the sampled coordinates, one for each iteration."""
    first = stacks[next(iter(stacks))]
    sizes = {layer: shape(stacks[layer].entry(0)) for layer in stacks}
    total = sum(m * n for m, n in sizes.values())
    # numpy draws without a permutation of the whole model; the clients' order and number do not enter
    seed = int(torch.randint(2**62, (1,), generator=first.extras["rng"]("coordinates")))
    rng = np.random.default_rng(seed)
    count = min(options.coordinates or total, total)
    draws = [np.sort(rng.choice(total, count, replace=False)) for _ in range(options.iterations)]
    products = [torch.zeros(len(first.clients), len(first.clients), dtype=torch.float64) for _ in draws]
    start = 0
    for layer, (m, n) in sizes.items():
        bounds = [np.searchsorted(draw, (start, start + m * n)) for draw in draws]
        inside = [torch.from_numpy(draw[low:high] - start) for draw, (low, high) in zip(draws, bounds, strict=True)]
        values = [[_gather(entry, index, n) for index in inside] for entry in stacks[layer].entries()]
        for product, parts in zip(products, zip(*values, strict=True), strict=True):
            part = torch.stack(parts)
            product += part @ part.T
        start += m * n
    return products


def _gather(entry: Entry, index: Tensor, n: int) -> Tensor:
    """Entries of a layer at flat positions, rows first, in float64 on the CPU; factors stay factors."""
    if isinstance(entry, Factors):
        index = index.to(entry.A.device)
        return (entry.B[index // n].double() * entry.A.T[index % n].double()).sum(1).cpu()
    return entry.flatten()[index.to(entry.device)].double().cpu()
