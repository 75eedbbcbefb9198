"""Trimming by magnitude: exactly the n largest entries stay, of equal ones the last by position (sap.selection)."""

import torch
from torch import Tensor

from sap.selection import find_cut, kept, settle


def largest(delta: Tensor, n_kept: int) -> Tensor:
    """ΔW with its `n_kept` largest |entries|, the others 0."""
    dropped = delta.numel() - n_kept
    if 0 < dropped < delta.numel() and not delta.is_cuda:
        ordered = delta.abs().flatten().numpy()
        settle(ordered, dropped - 1)
        cut = ordered[dropped - 1]
        if cut == 0 or cut < ordered[dropped:].min():  # no tie at the cut: one pass trims
            return torch.nn.functional.hardshrink(delta, float(cut))
    size = delta.abs()
    return delta * kept(size, find_cut([size], dropped))
