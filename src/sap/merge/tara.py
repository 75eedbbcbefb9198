"""TARA: every direction of every client has a coefficient, fitted so that the merge is as sure as the clients are.

    A   ΔW(φ) = Σ_k Σ_j φ_kj b_kj a_kjᵀ       the clients' own rank-1 components,        φ_k (r_k,)
    B   ΔW(φ) = Σ_k Σ_j φ_kj σ_j u_j v_kjᵀ    [ΔW_1 … ΔW_K] = U Σ [V_1ᵀ … V_Kᵀ],         φ_k (q,), q its rank
    φ   ← AdamW steps on Ψ = α log Σ_k exp(ρ_k |H(φ) − H_k| / α),   ρ_k = 1/K            smooth Tchebycheff

H is the entropy of the anchors' softmax over their captions at the merged model, H_k at client k's own: the client
that is farthest from its own entropy counts for most. B weighs what a client adds to each direction that all share.
Every φ starts at 1/K: without a step, both variants are the plain mean.
Jeong et al., CVPR 2026, arXiv:2603.26299 (wooseong97/TARA-Merge `src/models/simple_merge.py`,
`src/models/merging_utils/LoraWrapper.py`, `src/merge_with_preference.py`).

Departures: one set of anchors for all clients, where each has its own task's images. |·| is the paper's, as a reading
note has it; the released code drops it, which on one set of anchors is a step down the entropy alone, as AdaMerging
takes it. A start at 1/K, not 0.4, the scale of the mean; 100 steps at rate 5e-3 on all anchors, where they take 250 to
500 at 1e-3 on batches of 16: the same way at most.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry, Factors, as_factors
from sap.lowrank import common_basis, compact
from sap.merge._api import merge_method
from sap.merge._fitted import Coefficients, clients_of, fitted, stacked
from sap.update import Stack, Update


@dataclass(frozen=True)
class Options:
    variant: str = option("A", "the clients' own rank-1 components, or a joint SVD's directions", choices=("A", "B"))
    smoothness: float = option(1.0, "α of the smooth maximum over clients; a small one is the maximum", above=0)
    steps: int = option(100, "AdamW steps", low=0)
    learning_rate: float = option(5e-3, "of AdamW", above=0)


# Not the average: fitted coefficients need not sum to 1. Not homogeneous: the anchors' loss is not linear.
@merge_method(
    "tara",
    paper="arXiv:2603.26299",
    family="sensitivity",
    options=Options,
    space="factors",
    scope="model",
    needs={"anchors"},
    average=False,
    homogeneous=False,
    checked="the same steps by torch's autograd through dense layers; authors' _get_svd and concatenation",
)
def tara(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """TARA: coefficients of every client's directions, fitted to the clients' own entropies on the anchors."""
    judge = stacks[next(iter(stacks))].extras["anchors"]
    updates = clients_of(stacks)
    parts = {layer: _directions(stack, options.variant) for layer, stack in stacked(updates).items()}
    own = torch.tensor([judge.gradients(update, "entropy")[0] for update in updates], dtype=torch.float64)

    def slopes(coefficients: Coefficients) -> Coefficients:
        entropy, gradients = judge.gradients(_merged(parts, coefficients), "entropy")
        steepness = tchebycheff_slope(entropy - own, options.smoothness)
        return {layer: steepness * _slope(part, gradients[layer]) for layer, part in parts.items()}

    start = {layer: torch.full((len(part.A),), 1 / len(updates), dtype=torch.float64) for layer, part in parts.items()}
    found = _merged(parts, fitted(start, slopes, options.steps, options.learning_rate))
    return {layer: compact(*as_factors(found[layer]), as_factors(updates[0][layer]).A.dtype) for layer in parts}


def tchebycheff_slope(distances: Tensor, smoothness: float) -> float:
    """∂Ψ/∂H of the signed distances H − H_k, (K,)."""
    rho = 1 / len(distances)
    weights = (rho * distances.abs() / smoothness).softmax(0)
    return math.fsum((rho * weights * distances.sign()).tolist())


def _directions(stack: Stack, variant: str) -> Factors:
    """All components of all clients: rows of A (s, n) and columns of B (m, s), float64, client after client."""
    if variant == "A":
        return Factors(
            torch.cat([factors.A.double() for factors in stack.factors]),
            torch.cat([factors.B.double() for factors in stack.factors], dim=1),
        )
    U = common_basis(stack.factors)  # and σ_j v_kj = u_jᵀ ΔW_k
    rows = [(U.T @ factors.B.double()) @ factors.A.double() for factors in stack.factors]
    return Factors(torch.cat(rows), U.repeat(1, len(rows)))


def _merged(parts: Mapping[str, Factors], coefficients: Coefficients) -> Update:
    """ΔW(φ) of coefficients {layer: (s,)}."""
    return Update({layer: Factors(coefficients[layer][:, None] * part.A, part.B) for layer, part in parts.items()})


def _slope(part: Factors, gradient: Tensor) -> Tensor:
    """b_jᵀ G a_j of every component, (s,) float64."""
    return ((part.B.T @ gradient.to(part.B)) * part.A).sum(1)
