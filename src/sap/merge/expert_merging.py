"""Expert Merging: coefficients of the clients for each layer, fitted so that the merge answers as its teachers do.

    ΔW^l(α) = Σ_k α_k^l ΔW_k^l,   α = σ(θ), θ (L, K)               (m, n), as factors of rank Σ r_k
    θ       ← AdamW steps on (1/T) Σ_t mean_i [ ‖v_i − v_i^(t)‖² + τ² KL(softmax(z_i^(t)/τ) ‖ softmax(z_i/τ)) ]
              + γ mean_{l,k} |α_k^l − 1/K|

v_i is the feature of anchor i, z_i its logits against all anchors' captions, (t) those of teacher t. The T teachers are
the clients' own models, and with `zero_shot` the frozen model as one more, so that what all clients forgot is taught
again. Every α starts at 1/K: without a step, this is the plain mean.
Zhang et al., ICLR 2026, arXiv:2509.25712 (Littleor/ExpertMerging `global_utils/expert_merging_base.py`).

Departures: the last features take the place of hidden states, of which the anchors' judge knows no other; all teachers
speak about the same anchors, where each expert has 5 to 10 samples of its own task, and all count the same; a start at
1/K, not 0.1. All anchors at every step, a constant rate of 0.05 over 50 steps, where they take one sample at a time,
accumulate 8, and restart a cosine from 0.5; γ is 0.1 for losses of CLIP's size, where they take 5 for a language
model's. A layer is one weight matrix, without the chunks of Expert Merging++. Zero-shot as a teacher is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from sap.config import option
from sap.factors import Entry, inner
from sap.merge._api import merge_method
from sap.merge._fitted import Coefficients, clients_of, fitted, stacked
from sap.merge._ops import weighted_sum
from sap.update import Stack, Update

DECAY = 1e-5  # of AdamW, the authors'


@dataclass(frozen=True)
class Options:
    zero_shot: bool = option(False, "the frozen model is a teacher, too")
    temperature: float = option(1.0, "τ of teachers and student", above=0)
    closeness: float = option(0.1, "γ, of the distance of the coefficients to 1/K", low=0)
    steps: int = option(50, "AdamW steps", low=0)
    learning_rate: float = option(0.05, "of AdamW", above=0)


# Not the average: fitted coefficients need not sum to 1. Not homogeneous: the anchors' loss is not linear.
@merge_method(
    "expert_merging",
    paper="arXiv:2509.25712",
    family="sensitivity",
    options=Options,
    scope="model",
    needs={"anchors"},
    average=False,
    homogeneous=False,
    checked="the same steps by torch's autograd through dense layers, with the authors' losses",
)
def expert_merging(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """Expert Merging: layer-wise coefficients, with every client's own answers on the anchors as a teacher."""
    judge = stacks[next(iter(stacks))].extras["anchors"]
    updates = clients_of(stacks)
    held = stacked(updates)
    taught = updates + ([updates[0].scaled(0.0)] if options.zero_shot else [])
    teachers = [judge.features(update) for update in taught]
    even = 1 / len(updates)

    def distance(features: Tensor) -> Tensor:
        student = (judge.logits_of(features) / options.temperature).log_softmax(1)
        total = features.new_zeros(())
        for teacher in teachers:
            teacher = teacher.to(features)
            answers = (judge.logits_of(teacher) / options.temperature).log_softmax(1)
            total = total + (features - teacher).square().sum(1).mean()
            total = total + options.temperature**2 * kl_div(student, answers, reduction="batchmean", log_target=True)
        return total / len(teachers)

    def slopes(weights: Coefficients) -> Coefficients:
        shares = {layer: values.sigmoid() for layer, values in weights.items()}
        _, gradients = judge.gradients_of(_merged(held, shares), distance)
        count, found = len(held) * len(updates), {}
        for layer, alpha in shares.items():
            gradient = gradients[layer].double()
            slope = torch.tensor([inner(gradient, entry) for entry in held[layer].entries()], dtype=torch.float64)
            slope += options.closeness * (alpha - even).sign() / count
            found[layer] = slope * alpha * (1 - alpha)
        return found

    start = {layer: torch.full((len(updates),), even, dtype=torch.float64).logit(eps=1e-3) for layer in held}
    found = fitted(start, slopes, options.steps, options.learning_rate, DECAY)
    return dict(_merged(held, {layer: values.sigmoid() for layer, values in found.items()}))


def _merged(stacks: Mapping[str, Stack], weights: Coefficients) -> Update:
    """ΔW(α) of coefficients {layer: (K,)}."""
    return Update({layer: weighted_sum(stack, weights[layer]) for layer, stack in stacks.items()})
