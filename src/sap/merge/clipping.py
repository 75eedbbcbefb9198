"""Rules that bound the length of every client's whole-model update x_k.

    norm_clipping      ΔW* = (1/n) Σ_k x_k min(1, c / ‖x_k‖)
    centred_clipping   v ← v + (1/n) Σ_k (x_k − v) min(1, τ / ‖x_k − v‖), from v = 0
    arc                norm_clipping at c = the (k+1)-th largest norm, k = ⌊2 (f/n) (n − f)⌋

Sun et al., 2019, arXiv:1911.07963; Karimireddy et al., ICML 2021, arXiv:2012.10333; Allouah et al., ICLR 2025,
arXiv:2405.14432 (adaptive robust clipping; the paper puts any rule after it, here it is the mean). c and τ null are
the median of the clients' norms, so that both rules follow the updates' scale; a number is absolute, as published.
centred_clipping starts from the last round's result, of which one shot has none: from zero, and with three steps by
default, since one step from zero is norm_clipping. arc is valid for n ≥ 2f+1; f null is the largest such f, for which
c is the median of the norms if n is odd: then arc is norm_clipping.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._robust import distances_from, gram, norms, typical, weighted_model
from sap.update import Stack
from sap.validity import MAJORITY, majority


@dataclass(frozen=True)
class NormOptions:
    clip: float | None = option(None, "largest norm of a client; null is the median of the clients' norms", above=0)


@dataclass(frozen=True)
class CentredOptions:
    tau: float | None = option(
        None, "largest distance from the centre; null is the median of the clients' norms", above=0
    )
    steps: int = option(3, "steps from zero; one step is norm_clipping", low=1)


@dataclass(frozen=True)
class ArcOptions:
    f: int | None = option(None, "clients that may be malicious; null is the largest f with n >= 2f+1", low=0)


@merge_method("norm_clipping", paper="arXiv:1911.07963", family="robust", options=NormOptions, scope="model")
def norm_clipping(stacks: Mapping[str, Stack], options: NormOptions) -> dict[str, Entry]:
    """Mean of the clients, each shortened to a common largest norm."""
    lengths = norms(stacks)
    return weighted_model(stacks, shrinkage(lengths, _limit(options.clip, lengths)) / len(lengths))


@merge_method("centred_clipping", paper="arXiv:2012.10333", family="robust", options=CentredOptions, scope="model")
def centred_clipping(stacks: Mapping[str, Stack], options: CentredOptions) -> dict[str, Entry]:
    """Centred clipping: steps towards the clients, each client's pull bounded."""
    products = gram(stacks)
    tau = _limit(options.tau, products.diagonal().sqrt())
    weights = torch.zeros(len(products), dtype=torch.float64)  # of the clients in the centre
    for _ in range(options.steps):
        pull = shrinkage(distances_from(products, weights), tau)
        weights = weights + pull / len(pull) - weights * pull.mean()
    return weighted_model(stacks, weights)


@merge_method(
    "arc",
    paper="arXiv:2405.14432",
    family="robust",
    options=ArcOptions,
    scope="model",
    check=majority,
)
def arc(stacks: Mapping[str, Stack], options: ArcOptions) -> dict[str, Entry]:
    """Adaptive robust clipping: mean after the longest updates are shortened to the next one's norm."""
    lengths = norms(stacks)
    return weighted_model(stacks, shrinkage(lengths, adaptive_limit(lengths, options.f)) / len(lengths))


def adaptive_limit(lengths: Tensor, f: int | None) -> float:
    """Norm of the longest update that arc leaves as it is."""
    n = len(lengths)
    f = MAJORITY.tolerated(n, f)
    return float(lengths.sort(descending=True).values[2 * f * (n - f) // n])


def shrinkage(lengths: Tensor, limit: float) -> Tensor:
    """min(1, limit / length), (K,); 1 where the length is zero."""
    return torch.where(lengths > limit, limit / lengths, 1.0)


def _limit(given: float | None, lengths: Tensor) -> float:
    return float(typical(lengths)) if given is None else given
