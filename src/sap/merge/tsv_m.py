"""TSV-M: the clients' leading singular vectors, made orthogonal to one another.

    ΔW_k ≈ U_k Σ_k V_kᵀ                                            q leading directions, q = ⌊min(m, n)/K⌋
    Û, V̂  = polar factors of [U_1 … U_K], [V_1 … V_K]              (m, Kq), (n, Kq)
    ΔW*  = (1/K) Û diag(Σ_1, …, Σ_K) V̂ᵀ                            (m, n), rank ≤ Kq

Gargiulo et al., CVPR 2025, arXiv:2412.00081. q is at most the client's own numerical rank, see `_spectral`; `rank`
lowers it further. Departs from the published sum by 1/K (`average: mean`): λ = 1 is then on the scale of the mean.
`isotropic` sets all singular values of ΔW* to their mean (Core Space, Panariello et al., NeurIPS 2025). Directions
that coincide between clients have no polar factor of their own and stay out: K equal clients give 1/K of one.
"""

from dataclasses import dataclass

from sap.config import option
from sap.factors import Entry, Factors, shape
from sap.lowrank import svd
from sap.merge._api import merge_method
from sap.merge._spectral import SpectralOptions, assemble, directions, equalised, orthogonalised
from sap.update import Stack


@dataclass(frozen=True)
class Options(SpectralOptions):
    rank: int | None = option(None, "q, directions per client; null is ⌊min(m, n)/K⌋", low=1)
    isotropic: bool = option(False, "set all singular values of the result to their mean")


# K equal clients give the sum of one under `sum`, so 1/K of it under `mean`.
@merge_method("tsv_m", paper="arXiv:2412.00081", family="subspace", options=Options, average=False)
def tsv_m(stack: Stack, options: Options) -> Entry:
    """TSV-M: make the clients' leading singular vectors orthogonal to one another, then add."""
    parts = []
    for entry in stack.entries():
        count = options.rank or max(1, min(shape(entry)) // len(stack.clients))
        parts.append(directions(entry, count, stack, options, "tsv_m"))
    merged = orthogonalised(parts)
    if options.isotropic:
        merged = equalised(svd(Factors(merged.V.T, merged.U * merged.S)).significant())
    return assemble(merged, entry, stack, options)
