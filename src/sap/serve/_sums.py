"""Sums of features that clients upload (sap.measure.features): read without trust, added up."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sap.serve._uploads import refused, uploaded

TOLERANCE = 1e-3  # of the length of a unit-norm feature; float32 sums are closer


class Sums(NamedTuple):
    """Of n = Σ_c counts_c images, float64."""

    counts: Tensor  # (C,)
    totals: Tensor  # (C, E)
    outer: Tensor  # (E, E)

    def scatter(self) -> Tensor:
        """Σ_c Σ_{i in c} (x_i − μ_c)(x_i − μ_c)ᵀ, (E, E): what is left within the classes."""
        return self.outer - (self.totals / self.counts.clamp(min=1)[:, None]).T @ self.totals


def sums_of(found: Mapping[str, Tensor], client: str, kind: str, n_classes: int, width: int) -> Sums:
    """What a client uploaded as `kind`.

    It is not trusted: SapError unless all three are there in their shapes, finite, the counts whole numbers, and the
    sums those of that many unit-norm features, as far as their lengths say it.
    """
    shapes = {"count": (n_classes,), "sum": (n_classes, width), "outer": (width, width)}
    count, total, outer = (uploaded(found, client, f"{kind}/{name}", shape) for name, shape in shapes.items())
    odd = (count < 0) | (count != count.round())
    if odd.any():
        raise refused(client, f"{kind}/count must hold whole numbers of images, has {float(count[odd][0]):.4g}")
    longest = float((torch.linalg.vector_norm(total, dim=1) - count * (1 + TOLERANCE)).max())
    energy, images = float(outer.trace()), float(count.sum())
    if longest > 0 or abs(energy - images) > TOLERANCE * max(images, 1):
        raise refused(
            client, f"{kind} must be sums of {images:.0f} features of length 1, their squares sum to {energy:.4g}"
        )
    return Sums(count, total, outer)


def added(sums: list[Sums]) -> Sums:
    """The sums of all clients' images together."""
    return Sums(*(torch.stack(parts).sum(0) for parts in zip(*sums, strict=True)))


def numbers_sent(found: Mapping[str, Tensor], kind: str) -> int:
    """How many numbers a client uploads as `kind`."""
    return sum(found[name].numel() for name in found if name.startswith(f"{kind}/"))
