"""ZipLoRA: every client has a coefficient for each input of a layer, fitted so that the merge answers as all of them.

    ΔW(m) = Σ_k ΔW_k diag(m_k),   m_k (n,)                         (m, n), as factors (A_k diag(m_k), B_k)
    m     ← AdamW steps on (1/K) Σ_k mean_i ‖v_i(m) − v_i^(k)‖² + λ · mean over layers and k < j of |cos(m_k, m_j)|

v_i is the feature of anchor i, at the merged model or at client k's own. The penalty keeps clients from claiming the
same columns, which is where they are taken to interfere. Every m starts at 1/K: without a step, this is the plain mean.
Shah et al., ECCV 2024, arXiv:2311.13600; without the authors' code, layer and loss compared with a public
re-implementation (mkshing/ziplora-pytorch `ziplora_pytorch/ziplora.py`, `train_dreambooth_ziplora_sdxl.py`).

Departures: features of CLIP take the place of a diffusion model's output, and one set of anchors that of each
concept's own images, so all clients speak about the same images and the first term pulls to the mean of their features;
any number of clients, a start at 1/K and not 1, so that the result lies on the scale of the mean. The paper calls its
penalty a cosine and writes |m_1 · m_2|, the re-implementation takes mean |m_1 ∘ m_2|; both also shrink the update, and
the cosine does not. It is a mean over layers and pairs, where they sum. λ, steps and rate are the paper's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sap.config import option
from sap.factors import Entry, Factors, add
from sap.merge._api import merge_method
from sap.merge._fitted import Coefficients, clients_of, fitted, stacked
from sap.update import Stack, Update


@dataclass(frozen=True)
class Options:
    penalty: float = option(0.01, "λ, of the cosine between two clients' coefficients", low=0)
    steps: int = option(100, "AdamW steps", low=0)
    learning_rate: float = option(0.01, "of AdamW", above=0)


# Not the average: fitted coefficients need not sum to 1. Not homogeneous: the anchors' loss is not linear.
@merge_method(
    "ziplora",
    paper="arXiv:2311.13600",
    family="sensitivity",
    options=Options,
    scope="model",
    needs={"anchors"},
    average=False,
    homogeneous=False,
    checked="the same steps by torch's autograd through dense layers, and the re-implementation's merged weight",
)
def ziplora(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """ZipLoRA: coefficients of every client's columns, fitted to the clients' own features on the anchors."""
    judge = stacks[next(iter(stacks))].extras["anchors"]
    updates = clients_of(stacks)
    held = stacked(updates)
    own = torch.stack([judge.features(update) for update in updates])

    def distance(features: Tensor) -> Tensor:
        return (features - own.to(features)).square().sum(-1).mean()

    def slopes(columns: Coefficients) -> Coefficients:
        _, gradients = judge.gradients_of(_merged(held, columns), distance)
        overlap = _overlap_slopes(columns, options.penalty)
        return {layer: _slope(stack, gradients[layer]) + overlap[layer] for layer, stack in held.items()}

    start = {layer: _start(stack) for layer, stack in held.items()}
    return dict(_merged(held, fitted(start, slopes, options.steps, options.learning_rate)))


def _start(stack: Stack) -> Tensor:
    count, n = len(stack.clients), stack.delta(0).shape[1]
    return torch.full((count, n), 1 / count, dtype=torch.float64)


def _merged(stacks: Mapping[str, Stack], columns: Coefficients) -> Update:
    """ΔW(m) of coefficients {layer: (K, n)}."""
    return Update({layer: add([*_scaled(stack, columns[layer])]) for layer, stack in stacks.items()})


def _scaled(stack: Stack, columns: Tensor) -> Iterable[Entry]:
    for entry, row in zip(stack.entries(), columns, strict=True):
        if isinstance(entry, Factors):
            yield Factors(entry.A * row.to(entry.A), entry.B)
        else:
            yield entry * row.to(entry)


def _slope(stack: Stack, gradient: Tensor) -> Tensor:
    """Σ_i (G ∘ ΔW_k)[i, :], (K, n) float64: what a layer's gradient says of its clients' columns."""
    rows = []
    for entry in stack.entries():
        if isinstance(entry, Factors):
            rows.append(((entry.B.double().T @ gradient.double()) * entry.A.double()).sum(0))
        else:
            rows.append((gradient.double() * entry.double()).sum(0))
    return torch.stack(rows)


def _overlap_slopes(columns: Coefficients, penalty: float) -> Coefficients:
    """Gradient of the penalty; a client alone overlaps with nobody."""
    leaves = {layer: values.detach().clone().requires_grad_() for layer, values in columns.items()}
    pairs = [pair for rows in leaves.values() for pair in combinations(rows, 2)]
    if not pairs:
        return {layer: torch.zeros_like(values) for layer, values in columns.items()}
    with torch.enable_grad():
        overlap = penalty * torch.stack([cosine_similarity(a, b, dim=0).abs() for a, b in pairs]).mean()
    return dict(zip(leaves, torch.autograd.grad(overlap, list(leaves.values())), strict=True))
