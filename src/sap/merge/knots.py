"""KnOTS: one SVD of all clients gives them a common basis; TIES merges their coordinates in it.

    [ΔW_1 … ΔW_K] = U Σ [V_1 … V_K]ᵀ                               U: (m, q), q ≤ K·r
    R_k  = Σ V_kᵀ = Uᵀ ΔW_k                                        (q, n)
    ΔW*  = U TIES(R_1, …, R_K)                                     (m, n), rank ≤ q

Stoica et al., ICLR 2025, arXiv:2410.19735, github.com/gstoica27/KnOTS. TIES trims each client by one threshold over
the coordinates of all layers (`trim: layer` by one per layer), elects the sign of the sum and averages the clients
that have it. `inner: dare_ties` drops at random in place of the trim. `mean` is the plain mean of the updates.
Departs from the authors' code: the LoRA scale is part of ΔW_k; singular values are dropped below 1e-5 of the largest,
not below 1e-5; ⌊density·N⌋ coordinates are kept (theirs is `kept: inclusive`); coordinates that sum to exactly zero
take +, theirs the sign of most (`elect: majority` of `ties`; in a common basis none do so but by chance); λ is the
point's scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sap.config import option
from sap.factors import Entry, tensors_of
from sap.lowrank import common_basis, compact
from sap.merge._api import merge_method
from sap.merge._coordinates import InnerOptions, merge_coordinates, trim_cut
from sap.selection import Cut, kept
from sap.update import Stack


@dataclass(frozen=True)
class Options(InnerOptions):
    trim: str = option("model", "one threshold per client over the model, or per layer", choices=("model", "layer"))


# K equal clients give the trimmed client, not the client, as soon as density < 1.
@merge_method(
    "knots",
    paper="arXiv:2410.19735",
    family="subspace",
    options=Options,
    scope="model",
    needs={"rng": {"inner": ("dare_ties",)}},
    average=False,
)
def knots(stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """KnOTS: TIES or DARE on the clients' coordinates in the basis of a joint SVD."""
    n_clients = len(stacks[next(iter(stacks))].clients)
    bases = {layer: _basis(stacks[layer]) for layer in stacks}
    cuts = None
    if options.inner == "ties" and options.trim == "model":
        cuts = [
            trim_cut([_coordinates(stacks[layer], basis, k).abs() for layer, basis in bases.items()], options)
            for k in range(n_clients)
        ]
    return {
        layer: _merge(stacks[layer], basis, cuts, index, options) for index, (layer, basis) in enumerate(bases.items())
    }


def _basis(stack: Stack) -> Tensor:
    """U, in the dtype of the updates."""
    return common_basis(stack.entries()).to(tensors_of(stack.entry(0))[0].dtype)


def _coordinates(stack: Stack, basis: Tensor, k: int) -> Tensor:
    """R_k, (q, n)."""
    if not stack.low_rank:
        return basis.T @ stack.delta(k)
    return (basis.T @ stack.factors[k].B) @ stack.factors[k].A


def _merge(stack: Stack, basis: Tensor, cuts: list[Cut] | None, index: int, options: Options) -> Entry:
    """One layer; `index` is its place in the order that made the model's cuts."""
    keep = None if cuts is None else lambda k, magnitude: kept(magnitude, cuts[k], index)
    merged = merge_coordinates(stack, lambda k: _coordinates(stack, basis, k), keep, options)
    return compact(merged, basis, basis.dtype)
