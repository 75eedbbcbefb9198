"""Core Space: the clients' small matrices in the common bases of all B and of all A, merged there.

    U, V = left singular vectors of [B_1 … B_K], right ones of [A_1; …; A_K]      (m, q), (n, q'), q, q' ≤ K·r
    M_k  = Uᵀ B_k A_k V                                            (q, q'), and ΔW_k = U M_k Vᵀ exactly
    ΔW*  = U TIES(M_1, …, M_K) Vᵀ                                  (m, n), rank ≤ K·r

Panariello et al., NeurIPS 2025, arXiv:2509.17786, github.com/apanariello4/core-space-merging. TIES trims each client
per layer, elects the sign of the sum and averages the clients that have it. It depends on the basis, and so on how a
client splits ΔW_k into B_k and A_k: this method needs factors. `inner: mean` is the plain mean; TSV-M and Iso-C do not
depend on the basis, so `tsv_m` and `iso_c` are their Core Space forms. `isotropic` sets all singular values of the
merged core to their mean. Departs from the authors' code: directions below 1e-5 of the largest singular value stay out
of the bases and of the isotropic core; DARE replaces the trim, as in KnOTS; ⌊density·N⌋ entries are kept (theirs is
`kept: inclusive`, with a density of 0.1); entries that sum to exactly zero take +, theirs the sign of most (as KnOTS).
"""

from dataclasses import dataclass

import torch

from sap.config import option
from sap.factors import Entry
from sap.lowrank import compact, svd
from sap.merge._api import merge_method
from sap.merge._coordinates import InnerOptions, merge_coordinates
from sap.merge._spectral import equalised
from sap.update import Stack


@dataclass(frozen=True)
class Options(InnerOptions):
    isotropic: bool = option(False, "set all singular values of the merged core to their mean")


# K equal clients give the trimmed client, not the client, as soon as density < 1.
@merge_method(
    "core",
    paper="arXiv:2509.17786",
    family="subspace",
    options=Options,
    space="factors",
    needs={"rng": {"inner": ("dare_ties",)}},
    average=False,
)
def core(stack: Stack, options: Options) -> Entry:
    """Core Space: TIES or DARE on the clients' core matrices in common bases of B and of A."""
    U = svd(torch.cat([factors.B for factors in stack.factors], dim=1)).significant().U
    V = svd(torch.cat([factors.A for factors in stack.factors]).T).significant().U
    cores = [(U.T @ factors.B.double()) @ (factors.A.double() @ V) for factors in stack.factors]
    merged = merge_coordinates(stack, cores.__getitem__, None, options)
    if options.isotropic:
        equal = equalised(svd(merged).significant())
        merged = equal.U * equal.S @ equal.V.T
    return compact(merged @ V.T, U, stack.factors[0].A.dtype)
