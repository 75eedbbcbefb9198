"""LiNeS, layer increasing network scaling: the deeper a block of the visual tower, the more of the merge it keeps.

    ΔW*_l = (α + β · l/(L − 1)) ΔW_l                               in visual block l = 0 … L − 1
    ΔW*   = α ΔW                                                   in every other layer
    α     = ‖Σ_k ΔW_k‖_1 / (K ‖ΔW‖_1)                              over all layers and entries, unless given

Wang et al., ICLR 2025, arXiv:2410.17146, github.com/wang-kee/LiNeS, src/eval/eval.py: shallow blocks are held near the
pre-trained model, whose features are general. The published α makes shallow blocks as large as in the mean, whatever
the merge's scale; β, which is found on validation data in 0 … 1 there, counts on the merge as it is: on a mean, β is K
times the paper's β on the sum. For a single model the authors take α + β = 1.

`norm: total` gives the whole update its norm back, so that the ramp alone is judged: a control at equal norm of each
layer would undo it. Departures: L is one more than the deepest block that the update has; one block alone has α.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.errors import SapError
from sap.factors import Entry, dense
from sap.finish._api import finish_method
from sap.update import Stack, Update

BLOCK = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.")


@dataclass(frozen=True)
class Options:
    alpha: float | None = option(None, "α, of the first block and of what is in none; null is the paper's", low=0)
    beta: float = option(0.5, "β, what the last block has more than the first", low=0)
    norm: str = option("free", "`total` gives the whole update the norm that it had", choices=("free", "total"))


@finish_method(
    "lines",
    paper="arXiv:2410.17146",
    options=Options,
    checked="wang-kee/LiNeS, src/eval/eval.py, LiNeS_scaling",
    title="depth-wise λ",
)
def lines(merged: Update, stacks: Mapping[str, Stack], options: Options) -> dict[str, Entry]:
    """LiNeS: the update of a visual block grows with its depth."""
    alpha = _alpha(merged, stacks) if options.alpha is None else options.alpha
    scales = {layer: alpha + options.beta * depth for layer, depth in _depths(merged).items()}
    done = merged.scaled(scales)
    if options.norm == "total" and done.norm() > 0:
        done = done.scaled(merged.norm() / done.norm())
    return dict(done)


def _depths(merged: Update) -> dict[str, float]:
    """Layer -> l/(L − 1); 0 where it is in no visual block."""
    blocks = {layer: int(found[1]) for layer in merged if (found := BLOCK.match(layer))}
    if not blocks:
        raise SapError(
            f"finish.lines scales the blocks visual.transformer.resblocks.0, 1, ..., and this update has none (its "
            f"first layer is {next(iter(merged))}). Choose another finish."
        )
    last = max(1, *blocks.values())
    return {layer: blocks.get(layer, 0) / last for layer in merged}


def _alpha(merged: Update, stacks: Mapping[str, Stack]) -> float:
    """Of one layer after the other, in float64; 0 where nothing was merged."""
    summed = sum(_size(_sum(stacks[layer])) for layer in merged)
    size = sum(_size(dense(entry)) for entry in merged.values())
    return summed / size / len(stacks[next(iter(merged))].clients) if size > 0 else 0.0


def _sum(stack: Stack) -> Tensor:
    total = torch.zeros_like(stack.delta(0))
    for client in range(len(stack.clients)):
        total += stack.delta(client)
    return total


def _size(delta: Tensor) -> float:
    return float(delta.abs().sum(dtype=torch.float64))
