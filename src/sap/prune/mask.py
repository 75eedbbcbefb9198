"""From scores to masks: what competes, how many of them go, and what goes with them.

`unit` is what is kept or dropped as a whole. It competes with the mean of its entries' scores, so that rows and layers
of different sizes compete fairly:

    entry       every entry, with its own score
    row         output neuron i: row i of ΔW (m, n); in space `factors` row i of B (m, r), A stays whole
    component   rank-1 component i: row i of A (r, n) and column i of B (m, r), scored together; space `factors` only
    layer       all entries of a layer; needs scope `model`

`scope` is what competes with one another: the units of a `layer` (in space `factors` the entries of A and those of B),
of the whole `model`, or the entries of a `row` of the tensor.

Of N competitors ⌊ρN⌋ go (count `floor`) or round(ρN), halves to even (count `round`, as torch.nn.utils.prune), the
lowest scores first, ties by position. With `prune_top` γ > 0 the rule is two-sided: the ⌊γN⌋ highest go, then the
lowest until ⌊(1−ρ)N⌋ remain (with count `round` until round(ρN) are gone); ρ is the total share.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from sap.selection import Cut, find_cuts, floor_share, kept, share_of
from sap.setting import DEFAULTS


@dataclass(frozen=True)
class Rule:
    """Which units compete with which, and how many of them go; see above."""

    prune_ratio: float
    scope: str = DEFAULTS["scope"]
    unit: str = DEFAULTS["unit"]
    prune_top: float = DEFAULTS["prune_top"]
    count: str = DEFAULTS["count"]

    @classmethod
    def of(cls, point: Mapping[str, Any]) -> "Rule":
        """The rule of a point; fields that it lacks take their defaults."""
        return cls(**{field.name: point[field.name] for field in fields(cls) if field.name in point})

    def dropped(self, total: int) -> tuple[int, int]:
        """How many of `total` competitors go: (lowest, highest)."""
        rounding = round if self.count == "round" else (math.ceil if self.prune_top else math.floor)
        highest = floor_share(self.prune_top, total)
        return rounding(share_of(self.prune_ratio, total)) - highest, highest


def unit_means(unit: str, parts: list[Tensor]) -> list[Tensor]:
    """Means over the entries of each unit of one layer; `parts`: [ΔW's] or [A's, B's] numbers. Entries stay as is."""
    if unit == "row":
        return [parts[-1].mean(1)]
    if unit == "component":
        A, B = parts
        return [(A.sum(1) + B.sum(0)) / (A.shape[1] + B.shape[0])]
    if unit == "layer":
        total = sum((part.sum() for part in parts[1:]), parts[0].sum())
        return [(total / sum(part.numel() for part in parts)).reshape(1)]
    return parts


def without(unit: str, weights: list[Tensor], keep: list[Tensor]) -> list[Tensor]:
    """One layer's `weights`, [ΔW] or [A, B], with zeros where `keep` (shaped as `unit_means`) is False."""
    if unit == "row":
        return [*weights[:-1], weights[-1] * keep[0][:, None]]
    if unit == "component":
        A, B = weights
        return [A * keep[0][:, None], B * keep[0]]
    if unit == "layer":
        return [weight * keep[0] for weight in weights]
    return [weight * mask for weight, mask in zip(weights, keep, strict=True)]


def cut_out(scores: list[Tensor], rule: Rule) -> tuple[Cut, Cut | None]:
    """Where all `scores` together are cut: below the first cut they go, above the second (if there is one) too."""
    total = sum(score.numel() for score in scores)
    lowest, highest = rule.dropped(total)
    if not highest:
        return find_cuts(scores, [lowest])[0], None
    low, high = find_cuts(scores, [lowest, total - highest])
    return low, high


def keep_between(score: Tensor, cuts: tuple[Cut, Cut | None], tensor: int = 0) -> Tensor:
    """Boolean mask of one score tensor, the `tensor`-th of those that made the cuts; True = kept."""
    low, high = cuts
    keep = kept(score, low, tensor)
    return keep if high is None else keep & ~kept(score, high, tensor)
