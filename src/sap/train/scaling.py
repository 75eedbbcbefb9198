"""A LoRA model at W0 + λ ΔW: the frozen backbone (λ = 0), and steps at a random λ.

A server shrinks what it merges: an update that is only good whole loses there. With `train.random_scale: low` each step
minimises the loss of λ ΔW, λ ~ U(low, 1), so that the whole path from low to 1 is trained.

Source: none; it follows from MergOPT (ICLR 2026), which trains at θ + ζ with a random ζ on the path of a later merge.
Departures: MergOPT's ζ is fitted to other clients' updates and differs by weight; here it is one number for all layers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sap.clip.lora import ADAPTER, lora_layers
from sap.io import seed_of


def draw_scale(low: float, draw: int) -> float:
    """λ ~ U(low, 1) of the step whose random numbers come from `draw`."""
    generator = torch.Generator().manual_seed(seed_of("scale", draw))
    return low + (1 - low) * torch.rand((), generator=generator).item()


@contextmanager
def scaled_update(adapted: nn.Module, scale: float) -> Iterator[None]:
    """The model at W0 + scale · ΔW inside the block, backward passes included; at 0 its outputs are the backbone's.

    PEFT's own switch cannot serve: on its way back it makes both factors trainable, also a frozen one.
    """
    layers = [module for _, module in lora_layers(adapted)]
    before = [module.scaling[ADAPTER] for module in layers]
    try:
        for module, whole in zip(layers, before, strict=True):
            module.scaling[ADAPTER] = whole * scale
        yield
    finally:
        for module, whole in zip(layers, before, strict=True):
            module.scaling[ADAPTER] = whole
