"""SCORE: the clients' cores in common orthogonal bases, trimmed of what lies far off the diagonal, then added.

    ΔW_k ≈ U_k Σ_k V_kᵀ                                            q leading directions, q = ⌊min(m, n)/K⌋
    Û, V̂  = polar factors of [U_1 … U_K], [V_1 … V_K]              (m, Kq), (n, Kq)
    M_k  = Ûᵀ ΔW_k V̂                                               (Kq, Kq), of the whole ΔW_k
    T_k  = diag(M_k) + [|O − mean O| ≤ 1.96 std(O)/K] ∘ O          O = M_k with a zero diagonal, which counts in both
    ΔW*  = Û (Σ_k T_k) V̂ᵀ                                          (m, n), rank ≤ Kq

Chaves et al., CVPR 2026, arXiv:2603.05768, github.com/VirtualSpaceman/score_cvpr26, src/merging/score.py: merging of
CLIP image encoders with the text head frozen, judged on the domain that is left out. A **sum**, as published with λ =
1; a point's `scale: 1/K` puts it on the scale of the mean. The paper's threshold is 1.96 std(O) (`threshold: paper`,
which the code has for medical data only), the code's is K times smaller. `keep` has the code's ablations v1 to v4.

Departures: q is at most the client's numerical rank, and directions that coincide between clients stay out of Û and
V̂ (see `_spectral`; the code fills both up to min(m, n) columns with arbitrary ones). mean O depends on the signs
that an SVD happens to give its vectors: here the largest entry of each u_k is positive. `keep: all` is what the
code's v4 means to do: it adds the Python value True, a one, to every entry, which explains the 7.59 % of the paper's
table.
"""

from dataclasses import dataclass

from torch import Tensor

from sap.config import option
from sap.factors import Entry, Factors, shape, tensors_of
from sap.lowrank import Svd, compact, svd
from sap.merge._api import merge_method
from sap.merge._spectral import orthogonalised
from sap.update import Stack

DEVIATIONS = 1.96  # 95 % of a normal distribution


@dataclass(frozen=True)
class Options:
    keep: str = option(
        "trimmed",
        "of the cores: diagonal and what is near the mean off it, one of these two alone, or all",
        choices=("trimmed", "diagonal", "off_diagonal", "all"),
    )
    threshold: str = option(
        "released",
        "how far from the mean an entry off the diagonal may lie: 1.96 std/K (code), or 1.96 std (paper)",
        choices=("released", "paper"),
    )


# K equal clients give K times what is left of one.
@merge_method(
    "score",
    paper="arXiv:2603.05768",
    family="subspace",
    options=Options,
    average=False,
    checked="VirtualSpaceman/score_cvpr26, src/merging/score.py (v1 to v3), the same signs of singular vectors given",
)
def score(stack: Stack, options: Options) -> Entry:
    """SCORE: sum of the clients' cores in common orthogonal bases, without outliers off the diagonal."""
    K = len(stack.clients)
    bases = orthogonalised([_leading(entry, K) for entry in stack.entries()])
    deviations = DEVIATIONS if options.threshold == "paper" else DEVIATIONS / K
    total = bases.U.new_zeros(bases.U.shape[1], bases.V.shape[1])
    for entry in stack.entries():
        total += _kept(_core(entry, bases), deviations, options.keep)
    return compact(total @ bases.V.T, bases.U, tensors_of(entry)[0].dtype)


def _leading(entry: Entry, n_clients: int) -> Svd:
    """A client's leading directions, each with the sign that makes the largest entry of u positive."""
    found = svd(entry).significant().first(max(1, min(shape(entry)) // n_clients))
    signs = found.U.gather(0, found.U.abs().argmax(0, keepdim=True)).sign()
    return Svd(found.U * signs, found.S, found.V * signs)


def _core(entry: Entry, bases: Svd) -> Tensor:
    """M_k, (Kq, Kq)."""
    if isinstance(entry, Factors):
        return (bases.U.T @ entry.B.double()) @ (entry.A.double() @ bases.V)
    return bases.U.T @ entry.double() @ bases.V


def _kept(core: Tensor, deviations: float, keep: str) -> Tensor:
    """T_k."""
    diagonal = core.diagonal().diag()
    if keep == "all" or core.numel() < 2:
        return core
    if keep == "diagonal":
        return diagonal
    off = core - diagonal
    near = off * ((off - off.mean()).abs() <= deviations * off.std())
    return near if keep == "off_diagonal" else diagonal + near
