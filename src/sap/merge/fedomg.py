"""FedOMG: the mean of the clients, moved towards the mixture of clients that agrees least with it.

    G    = <ΔW_j, ΔW_k>/(mean_k ‖ΔW_k‖)²                           (K, K), over the whole model
    w*   = argmin_w in the simplex  wᵀḡ + c √(ḡ̄) √(wᵀG w)          ḡ = G 1/K, ḡ̄ = 1ᵀG 1/K²
    ΔW*  = 1/(1 + c²) Σ_k (1/K + w*_k c √(ḡ̄)/√(w*ᵀG w*)) ΔW_k      (m, n), factors stay factors

Of all updates within c times the mean's norm of the mean the one whose least inner product with a client is largest
(CAGrad), times 1/(1 + c²). Nguyen et al., ICLR 2025, arXiv:2501.14653, github.com/skydvn/FedOMG, the file
FedOMG-DG/algorithms/FedOMG/utils/fed_merge.py; its search: w = softmax(v), 20 steps of SGD with rate 25 and momentum
0.5 from v = 0, the best w met. It stays in the span of the clients, near the scale of the mean: their coefficients sum
to (1 + c √(ḡ̄)/√(wᵀGw))/(1 + c²), 1.2 for equal clients. c = 0 is the mean.

Departures: one round, so the global rate is the point's scale (code: 0.05 to 0.5 a round), and the clients' updates
are not multiplied by their shares first (`system/` of the code does not either). The code adds 1e-4 to squared norms
before it divides by their mean, so its result depends on the unit of the weights; here it does not.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._inner_products import inner_products
from sap.merge._ops import weighted_sum
from sap.update import Stack

STEPS, RATE, MOMENTUM, FLOOR = 20, 25, 0.5, 1e-4


@dataclass(frozen=True)
class Options:
    c: float = option(0.5, "how far from the mean, as a share of its norm", low=0, below=1)


# K equal clients give (1 + c)/(1 + c²) of one.
@merge_method(
    "fedomg",
    paper="arXiv:2501.14653",
    family="average",
    options=Options,
    scope="model",
    average=False,
    checked="skydvn/FedOMG, FedOMG-DG/algorithms/FedOMG/utils/fed_merge.py, OMG",
)
def fedomg(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """FedOMG: the mean, moved towards the mixture of clients that agrees least with it."""
    gram = sum(inner_products(list(stack.entries()))[0] for stack in stacks.values())
    coefficients = _coefficients(torch.as_tensor(gram), options.c)
    return {layer: weighted_sum(stacks[layer], coefficients) for layer in stacks}


def _coefficients(gram: Tensor, c: float) -> Tensor:
    """Of the clients, (K,)."""
    scale = gram.diagonal().clamp(min=0).sqrt().mean()
    gram = gram / scale**2 if scale > 0 else gram
    mean = gram.mean(1)
    radius = c * math.sqrt(max(float(mean.mean()), 0) + FLOOR)
    v, velocity = torch.zeros_like(mean), torch.zeros_like(mean)
    best, lowest = v.softmax(0), math.inf
    for step in range(STEPS + 1):
        w = v.softmax(0)
        length = _length(gram, w)
        value = float(w @ mean + radius * length)
        if value < lowest:
            best, lowest = w, value
        if step < STEPS:
            slope = mean + radius * (gram @ w) / length
            velocity = MOMENTUM * velocity + w * (slope - w @ slope)  # of v, through the softmax
            v = v - RATE * velocity
    return (1 / len(mean) + best * radius / (_length(gram, best) + FLOOR)) / (1 + c**2)


def _length(gram: Tensor, w: Tensor) -> Tensor:
    """√(wᵀGw), at least a hundredth."""
    return ((w @ gram @ w).clamp(min=0) + FLOOR).sqrt()
