"""TOFA's fusion: image by image, the surer of two models counts for more.

    η(x) = σ(log(max_c p_a(c | x) / max_c p_b(c | x))) = max p_a / (max p_a + max p_b)
    z(x) = η z_a + (1 − η) z_b,   p = softmax(z)            z logits; a is the own merge, b the point beside it

η is 1/2 where both are equally sure. The paper fuses a visual head with zero-shot: `beside: {serve: zero_shot}`.
TOFA, AAAI 2026, arXiv:2511.16423; no public code, formula from a third-party reading note.

Departures: a merged LoRA takes the place of the paper's visual head, whose posterior over class means is another model.
Logits are logs of probabilities here, which differ from the models' own by a constant per image that softmax forgets.
"""

from torch import Tensor

from sap.serve._api import Fold, Served, Settings, served
from sap.serve._two import fused, geometric


@served(
    "confidence",
    "confidence fusion",
    reads=("merge",),
    beside=1,
    checked="the formula on the two models' own logits",
)
def confidence(settings: Settings, fold: Fold) -> Served:
    """Two models' logits, weighed image by image by how sure each is (TOFA), each with its own pass."""
    return fused(settings, fold, surer)


def surer(own: Tensor, other: Tensor) -> Tensor:
    """The fusion of the module docstring, of probabilities (n, C) each."""
    sure, beside = (each.amax(1, keepdim=True) for each in (own, other))
    return geometric(sure / (sure + beside), own, other)
