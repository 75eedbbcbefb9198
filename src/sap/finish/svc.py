"""SVC, singular value calibration: directions that several clients share lose the strength that they gained by adding.

    ΔW   = U diag(σ) Vᵀ                                            of the merged layer, whatever merged it
    s_kr = σ_r u_rᵀ ΔW_k v_r / ‖u_rᵀ ΔW_k‖²                        what the merge has of client k's own part along u_r
    γ_r  = K / Σ_k max(α, s_kr)                                    α = 1/K unless given
    ΔW*  = U diag(γ ∘ σ) Vᵀ                                        (m, n), rank as before

Li et al., ICML 2026, arXiv:2602.05536, github.com/lyymuwu/SVC, merge_func.py. On a mean, with α = 1/K, directions that
all clients share stay (γ = 1) and those of one client grow K-fold; on a sum, with α = 1 (the authors' choice after
TSV-M), shared ones come back to their mean (γ = 1/K) and those of one client stay. For an unseen domain the other way
may be the better one: `sign: inverse` takes 1/γ, and gives the layer its norm back. `rule: first_release` is the code
before its "Method Correction": γ_r = 1/max(α, mean_k s_kr), and 1 where a client has s_kr ≤ 0.

Departures: what a client has along u_r counts as nothing (s = 0) below 1e-5 of σ_r, where the code compares its square
with 1e-12, so that rounding of factors is not taken for a direction; all layers take part.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry, Factors, tensors_of
from sap.finish._api import finish_method
from sap.lowrank import TOLERANCE, Svd, compact, svd
from sap.update import Stack, Update


@dataclass(frozen=True)
class Options:
    alpha: float | None = option(None, "α, least share of a client that is counted; null is 1/K", above=0)
    sign: str = option(
        "gamma",
        "singular values times γ, or times 1/γ at the layer's norm before",
        choices=("gamma", "inverse"),
    )
    rule: str = option(
        "paper", "how γ comes from the shares: paper, or code before correction", choices=("paper", "first_release")
    )


@finish_method(
    "svc",
    paper="arXiv:2602.05536",
    options=Options,
    checked="lyymuwu/SVC, merge_func.py, coef_cal_multi_ranks (both states of the code)",
)
def svc(merged: Update, stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """SVC: singular values of the merge divided by how much of them the clients have in common."""
    return {layer: _calibrated(entry, stacks[layer], options) for layer, entry in merged.items()}


def _calibrated(entry: Entry, stack: Stack, options: Options) -> Entry:
    parts = svd(entry).significant()
    shares = torch.stack([_share(client, parts) for client in stack.entries()])  # (K, q)
    gamma = _gamma(shares, 1 / len(stack.clients) if options.alpha is None else options.alpha, options.rule)
    values = parts.S * gamma if options.sign == "gamma" else parts.S / gamma
    if options.sign == "inverse" and len(values):
        values = values * (parts.S.norm() / values.norm())
    return compact(parts.V.T, parts.U * values, tensors_of(entry)[0].dtype)


def _share(client: Entry, parts: Svd) -> Tensor:
    """s_k, (q,)."""
    if isinstance(client, Factors):
        left, A = parts.U.T @ client.B.double(), client.A.double()  # u_rᵀ ΔW_k = left A
        along, energy = (left * (A @ parts.V).T).sum(1), ((left @ (A @ A.T)) * left).sum(1)
    else:
        rows = parts.U.T @ client.double()
        along, energy = (rows * parts.V.T).sum(1), rows.square().sum(1)
    there = energy > (TOLERANCE * parts.S) ** 2
    return torch.where(there, parts.S * along / torch.where(there, energy, 1.0), 0.0)


def _gamma(shares: Tensor, alpha: float, rule: str) -> Tensor:
    """γ, (q,)."""
    if rule == "paper":
        return 1 / shares.clamp(min=alpha).mean(0)
    return torch.where((shares > 0).all(0), 1 / shares.mean(0).clamp(min=alpha), 1.0)
