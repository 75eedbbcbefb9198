"""The control of a merge: the plain mean of the clients at the merge's norms. A gain beyond it is not shrinkage.

    ΔW*_l = ‖ΔW_l‖_F / ‖M_l‖_F · M_l,   M_l = (1/K) Σ_k ΔW_k,l     (m, n) for every layer, or
    ΔW*   = ‖ΔW‖_F / ‖M‖_F · M                                     with `norm: total`, of all layers together

A merge may do well because it is smaller than the mean, or smaller in some layers, and a scaled mean is that as well.
At `layer` the control has each layer's size; at `total` a merge also keeps the credit for how it spreads its size over
the layers. For pruned merges `control: shrunk` is the first of the two. Layers in which the mean is zero stay zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from sap.config import option
from sap.factors import Entry, add, scaled
from sap.finish._api import finish_method
from sap.update import Stack, Update


@dataclass(frozen=True)
class Options:
    norm: str = option(
        "layer", "the merge's norm of each `layer`, or of the `total` update", choices=("layer", "total")
    )


@finish_method("mean_at_norms", paper="docs/evidence.md", options=Options, checked="closed form")
def mean_at_norms(merged: Update, stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """The plain mean in the merge's place, as large as the merge is: the control of whatever merged."""
    mean = Update({layer: _mean(stacks[layer]) for layer in merged})
    if options.norm == "total":
        return dict(mean.scaled(_ratio(merged.norm(), mean.norm())))
    wanted = merged.norms()
    return dict(mean.scaled({layer: _ratio(wanted[layer], norm) for layer, norm in mean.norms().items()}))


def _mean(stack: Stack) -> Entry:
    """Every client counts alike, whatever the merge weighs by; one client's dense entries at a time."""
    return reduce(
        lambda total, entry: add([total, entry]), (scaled(e, 1 / len(stack.clients)) for e in stack.entries())
    )


def _ratio(wanted: float, norm: float) -> float:
    return wanted / norm if norm else 1.0
