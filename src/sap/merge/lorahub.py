"""LoRAHub: one coefficient per client, found by a search that sees the anchors' loss and no gradient.

    ΔW(w) = Σ_k w_k ΔW_k,   w (K,) in [−1.5, 1.5]                  (m, n), as factors of rank Σ r_k
    w     = argmin L(W0 + ΔW(w)) + λ (1/K) Σ_k |w_k|,   λ = 0.05

L is the anchors' alignment loss. The search is Nevergrad's NGOpt with a budget of 40 tries, and starts at w = 0, which
is zero-shot; so it has no scale to inherit from the mean. A try costs one forward pass of the anchors.
Huang et al., COLM 2024, arXiv:2307.13269 (sail-sg/lorahub `lorahub/algorithm.py`).

Departures: the anchors' loss, where they take the cross-entropy of a few examples of the unseen task: the cosine loss
moves by hundredths where theirs moves by tenths, so their λ weighs more here and can hold w at 0; sums of ΔW,
where they sum A and B apart and multiply, which has products between clients; the search is seeded by the study's names
and seed, and takes the clients in the order of their names. What it recommends is rounded to 0.01: forty tries resolve
no more, and what lies below follows the last bits of the losses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from sap.config import option
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._fitted import clients_of, stacked
from sap.merge._ops import weighted_sum
from sap.update import Stack, Update

RESOLUTION = 0.01  # of the coefficients


@dataclass(frozen=True)
class Options:
    budget: int = option(40, "tries of the search", low=1)
    bound: float = option(1.5, "largest absolute coefficient", above=0)
    penalty: float = option(0.05, "λ, of the mean absolute coefficient", low=0)


# Not the average and not homogeneous: the coefficients are what the anchors like.
@merge_method(
    "lorahub",
    paper="arXiv:2307.13269",
    family="sensitivity",
    options=Options,
    scope="model",
    needs={"anchors", "rng"},
    average=False,
    homogeneous=False,
    checked="the authors' search, parameters and penalty run on the same losses",
)
def lorahub(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """LoRAHub: client coefficients found by gradient-free search on the anchors' loss."""
    first = stacks[next(iter(stacks))]
    judge = first.extras["anchors"]
    held = stacked(clients_of(stacks))
    order = sorted(range(len(first.clients)), key=first.clients.__getitem__)

    def merged(weights: np.ndarray) -> Update:
        of_client = torch.zeros(len(order), dtype=torch.float64)
        of_client[order] = torch.from_numpy(np.asarray(weights, dtype=np.float64))
        return Update({layer: weighted_sum(stack, of_client) for layer, stack in held.items()})

    def score(weights: np.ndarray) -> float:
        return float(judge.loss(merged(weights)) + options.penalty * np.abs(weights).mean())

    seed = int(torch.randint(2**31, (), generator=first.extras["rng"]("search")))
    found = search(score, len(order), options.bound, options.budget, seed)
    return dict(merged(np.round(found / RESOLUTION) * RESOLUTION))


def search(score: Callable[[np.ndarray], float], count: int, bound: float, budget: int, seed: int) -> np.ndarray:
    """The recommendation of Nevergrad's NGOpt for the smallest score of (count,) numbers in [−bound, bound]."""
    import nevergrad  # seconds, which nobody else pays

    sought = nevergrad.p.Array(init=[0.0] * count, lower=[-bound] * count, upper=[bound] * count)
    sought.random_state.seed(seed)
    optimiser = nevergrad.optimizers.NGOpt(parametrization=sought, budget=budget)
    return np.asarray(optimiser.minimize(score).value)
