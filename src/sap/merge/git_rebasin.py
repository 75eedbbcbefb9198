"""Git Re-Basin for LoRA: rank-1 components put into a common order and sign before the factors are averaged.

    c_ij  = cos(b_i, b'_j) · cos(a_i, a'_j)                        (r, r): cosine of b_i a_iᵀ and b'_j a'_jᵀ
    π     = permutation with the largest Σ_i |c_iπ(i)|             Hungarian method
    ΔW*   = (1/K Σ_k B_k P_k)(1/K Σ_k P_kᵀ A_k)                    (m, n), rank r; P_k: order and signs of client k

All clients are aligned with the one to which the others' components fit best. A component's sign ± goes to b and a
alike, and is that of whichever of its two cosines is larger.

**ΔW_k itself does not change**: B_k P_k P_kᵀ A_k = B_k A_k. So an average of updates (`mean`) cannot gain by any
alignment; what changes are the cross terms B_j A_k of `product_of_means`, which this method is after the alignment.
It matters where clients start from different A (`train.lora.start: independent`); where all start alike they are
aligned already. The factors allow any invertible r × r matrix, not permutations alone, so aligned components are not
the best that can be done: that is `lora_fair`, or the mean itself.

Ainsworth et al., ICLR 2023, arXiv:2209.04836, which permutes hidden units of whole networks; the form for rank-1
components is this project's, and a LoRA update has no other permutation symmetry of its own. Departures: cosines and
not inner products, so that a large component does not decide alone; signs; one reference and not alternating rounds.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sap.factors import Factors
from sap.merge._api import merge_method
from sap.merge._ops import common_rank
from sap.update import Stack


@merge_method(
    "git_rebasin",
    paper="arXiv:2209.04836",
    family="average",
    space="factors",
    checked="closed form: permuted and negated copies of one client; all r! permutations at r = 3",
)
def git_rebasin(stack: Stack, options: object) -> Factors:
    """Git Re-Basin of LoRA: product of means, after the rank-1 components are matched in order and sign."""
    common_rank(stack, "git_rebasin")
    units = [Factors(normalize(pair.A.double(), dim=1), normalize(pair.B.double(), dim=0)) for pair in stack.factors]
    fits = torch.stack([torch.stack([_fit(one, other) for other in units]) for one in units])  # (K, K)
    reference = units[int(fits.sum(1).argmax())]
    pairs = [aligned(pair, unit, reference) for pair, unit in zip(stack.factors, units, strict=True)]
    return Factors(torch.stack([pair.A for pair in pairs]).mean(0), torch.stack([pair.B for pair in pairs]).mean(0))


def aligned(pair: Factors, unit: Factors, reference: Factors) -> Factors:
    """The same update, its components in the order and with the signs of the reference; both units are normalised."""
    left, right = reference.B.T @ unit.B, reference.A @ unit.A.T
    rows, columns = _matched(left * right)
    left, right = left[rows, columns], right[rows, columns]
    signs = torch.where(torch.where(left.abs() >= right.abs(), left, right) < 0, -1.0, 1.0).to(pair.B)
    return Factors(signs[:, None] * pair.A[columns], signs * pair.B[:, columns])


def _fit(one: Factors, other: Factors) -> Tensor:
    """Σ |c| of the best order."""
    cosines = (one.B.T @ other.B) * (one.A @ other.A.T)
    return cosines[_matched(cosines)].abs().sum()


def _matched(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the assignment with the largest sum of |cosines|; rows in their order."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    rows, columns = linear_sum_assignment(cosines.abs().cpu().numpy(), maximize=True)
    return torch.as_tensor(rows), torch.as_tensor(columns)
