"""Sens-Merging: clients are weighed layer by layer, by the anchors' sensitivity and by how far their logits stand off.

    s_k^l = Σ_ij |ΔW_k^l ∘ g_k^l|_ij,   α_k^l = s_k^l / ‖s_k‖₂         sensitivity, L2-normalised over layers
    t_k   = Σ_s mean_i ‖z_k(x_i) − z_s(x_i)‖₂,   τ_k = t_k / Σ_s t_s   distance of the logits (N, N) to the others'
    σ^l   = softmax_k(α_k^l τ_k / temperature)                         (K,)
    ΔW^l* = Σ_k σ_k^l ΔW_k^l                                           (m, n), as factors of rank Σ r_k

g_k is the gradient of the anchors' loss at client k's own weights (the point's reduction decides whether |·| sees the
mean gradient or each anchor's), z_k its logits of anchor images against anchor captions.
Liu et al., ACL Findings 2025, arXiv:2502.12420; without the authors' code, read from the paper's description and a
third-party program. Its result is K times this one: here the coefficients of a layer sum to 1, the scale of the mean.

Departures: sensitivity of the update, Σ|ΔW ∘ g|, the loss that removing it would cost, where the paper takes the whole
weight, Σ|θ ∘ g| (a merge method does not see W0); a layer is one weight matrix, not a transformer block; one set of
anchors takes the place of every task's calibration samples, so the distances are symmetric. With 48 layers and
temperature 1 all σ lie within a few percent of 1/K; a lower temperature separates the clients.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sap.config import option
from sap.factors import Entry
from sap.merge._anchored import client_update
from sap.merge._api import merge_method
from sap.merge._ops import weighted_sum
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    temperature: float = option(1.0, "of the softmax over clients", above=0)


# Not homogeneous: the anchors' logits are not linear in the update.
@merge_method(
    "sens_merging",
    paper="arXiv:2502.12420",
    family="sensitivity",
    options=Options,
    scope="model",
    needs={"gradient", "anchors"},
    homogeneous=False,
)
def sens_merging(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """Sens-Merging: layer-wise client weights from the anchors' sensitivity and the distance of logits."""
    stacks = dict(stacks)
    alpha = torch.stack([_sensitivities(stack) for stack in stacks.values()], dim=1)  # (K, L)
    alpha = normalize(alpha, dim=1)
    sigma = (alpha * _distances(stacks)[:, None] / options.temperature).softmax(0)
    return {layer: weighted_sum(stack, sigma[:, i]) for i, (layer, stack) in enumerate(stacks.items())}


def _sensitivities(stack: Stack) -> Tensor:
    """Σ|ΔW_k ∘ g_k| of every client, (K,) float64."""
    found = []
    for client in range(len(stack.clients)):
        delta = stack.delta(client)
        found.append((delta * stack.extras["gradient"](client).to(delta)).abs_().sum(dtype=torch.float64).item())
    return torch.tensor(found, dtype=torch.float64)


def _distances(stacks: Mapping[str, Stack]) -> Tensor:
    """τ (K,) float64, sum 1; 1/K where all clients have the same logits."""
    first = stacks[next(iter(stacks))]
    judge = first.extras["anchors"]
    logits = [judge.logits(client_update(stacks, client)).double() for client in range(len(first.clients))]
    totals = [sum(torch.linalg.vector_norm(one - other, dim=1).mean().item() for other in logits) for one in logits]
    tau = torch.tensor(totals, dtype=torch.float64)
    return tau / tau.sum() if tau.sum() > 0 else torch.full_like(tau, 1 / len(tau))
