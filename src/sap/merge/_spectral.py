"""What TSV-M, Iso-C and Iso-CTS share.

All three were published for full fine-tuning: they keep or equalise a fixed number of singular directions of (m, n)
updates. Updates of LoRA clients have K·r directions and no more; every further one is an arbitrary vector of the null
space, which the published code raises to full strength. There a relative change of 1e-7 of the input (float32) changes
the TSV-M result by 88 %, that of Iso-C by 128 % (768 × 768, rank 16, K = 4). So all methods here count only directions
above TOLERANCE of the largest singular value, which on LoRA updates is the published method in the clients' span
(Core Space) and on full-rank updates the published method itself. `dense` insists on the published numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.errors import SapError
from sap.factors import Entry, dense, tensors_of
from sap.lowrank import Svd, compact, svd
from sap.update import Stack


@dataclass(frozen=True)
class SpectralOptions:
    average: str = option("mean", "`mean` divides the published sum by K", choices=("mean", "sum"))
    dense: bool = option(False, "count directions by min(m, n), as published; refused where the updates have fewer")
    allow_ill_posed: bool = option(
        False, "with `dense`: fill up with arbitrary null-space directions, not reproducible"
    )


def directions(
    entry: Entry, count: int, stack: Stack, options: SpectralOptions, method: str, largest: float | None = None
) -> Svd:
    """The `count` leading singular directions of an entry, or fewer: none that is numerically zero, but for `dense`.

    `largest`: what zero is relative to, default the largest singular value.
    """
    found = svd(entry).significant(largest)
    if options.dense and len(found.S) < count:
        if not options.allow_ill_posed:
            raise SapError(
                f"merge.{method}: `dense` takes {count} singular directions of an update of layer {stack.layer} that "
                f"has {len(found.S)}; the others would be arbitrary. Leave `dense` out, or set allow_ill_posed: true "
                "to repeat published numbers."
            )
        U, S, Vh = torch.linalg.svd(dense(entry).double(), full_matrices=False)
        found = Svd(U, S, Vh.T)
    return found.first(count)


def orthogonalised(parts: list[Svd]) -> Svd:
    """Directions of several matrices side by side, left and right vectors each replaced by their polar factor."""
    U, V = _polar(torch.cat([part.U for part in parts], dim=1)), _polar(torch.cat([part.V for part in parts], dim=1))
    return Svd(U, torch.cat([part.S for part in parts]), V)


def equalised(parts: Svd) -> Svd:
    """All singular values set to their mean."""
    return parts._replace(S=parts.S.mean().expand_as(parts.S))


def assemble(parts: Svd, like: Entry, stack: Stack, options: SpectralOptions) -> Entry:
    """U diag(S) Vᵀ, given on the scale of the sum, in the dtype of `like`."""
    divisor = len(stack.clients) if options.average == "mean" else 1
    return compact(parts.V.T, parts.U * (parts.S / divisor), tensors_of(like)[0].dtype)


def _polar(columns: Tensor) -> Tensor:
    """The orthonormal factor P Qᵀ of columns = P S Qᵀ; directions that coincide (S = 0) stay out."""
    parts = svd(columns).significant()
    return parts.U @ parts.V.T
