"""MagMax: of every entry the client that changed it most.

    ΔW*[i, j] = ΔW_k[i, j],   k = argmax_k |ΔW_k[i, j]|            (m, n)

Marczak et al., ECCV 2024, arXiv:2407.06322; code read: github.com/VirtualSpaceman/score_cvpr26,
src/merging/task_vectors.py, `merge_max_abs`. Departure: of two clients with the same magnitude and opposite signs the
positive one wins; there the last client, so that the order of the clients matters.
"""

import torch
from torch import Tensor

from sap.merge._api import merge_method
from sap.update import Stack


@merge_method(
    "magmax",
    paper="arXiv:2407.06322",
    family="task vectors",
    checked="VirtualSpaceman/score_cvpr26, src/merging/task_vectors.py, merge_max_abs",
)
def magmax(stack: Stack, options: object) -> Tensor:
    """MagMax: entry by entry, the client with the largest magnitude."""
    high, low = stack.delta(0), stack.delta(0)
    for client in range(1, len(stack.clients)):
        delta = stack.delta(client)
        high, low = high.maximum(delta), low.minimum(delta)
    return torch.where(high >= -low, high, low)
