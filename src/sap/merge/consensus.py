"""Consensus task arithmetic: keep the entries that several clients use.

    M_k = [ |ΔW_k| > λ |Σ_j ΔW_j − ΔW_k| ]                         (m, n), TALL mask of client k
    ΔW* = (1/K) Σ_k ΔW_k  where Σ_k M_k ≥ min_agreement, else 0    (m, n)

Wang et al., ICML 2024, arXiv:2405.07813. Their λ is chosen per task on validation data from 0.2 … 0.6; here it is one
number, 0.4. Masks compare with the sum, as theirs; the result is on the scale of the mean, `average: sum` is their
task arithmetic (times their scale, 0.3). Many alike clients leave nothing: each is small against the others' sum.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.merge._api import merge_method
from sap.merge._combine import by_sum
from sap.update import Stack
from sap.validity import enough_agreement


@dataclass(frozen=True)
class Options:
    tall_lambda: float = option(0.4, "λ: larger means fewer entries in a client's mask", low=0)
    min_agreement: int = option(2, "clients whose mask must hold an entry", low=1)
    average: str = option("mean", "mean of the clients, or their sum", choices=("mean", "sum"))


# K equal clients: |ΔW| > λ (K − 1) |ΔW| fails as soon as λ ≥ 1/(K − 1), then nothing is left.
@merge_method(
    "consensus", paper="arXiv:2405.07813", family="task vectors", options=Options, check=enough_agreement, average=False
)
def consensus(stack: Stack, options: Options) -> Tensor:
    """Mean of the clients where the TALL masks of several hold the entry (Consensus-TA)."""
    clients = range(len(stack.clients))
    total = by_sum((stack.delta(k) for k in clients), "sum")
    agreement = torch.zeros_like(total)
    for delta in (stack.delta(k) for k in clients):
        agreement.add_(delta.abs() > (total - delta).abs_().mul_(options.tall_lambda))
    total.mul_(agreement >= options.min_agreement)
    return total.div_(len(clients)) if options.average == "mean" else total
