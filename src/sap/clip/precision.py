"""The arithmetic of forward and backward passes: float32, or bf16 autocast where the device has it."""

from contextlib import AbstractContextManager

import torch

from sap.errors import SapError


def resolve(device: torch.device, precision: str, setting: str) -> str:
    """`float32` or `bfloat16`; `auto` is bfloat16 on GPUs that have it and float32 elsewhere (exactly repeatable).

    Raises SapError naming `setting` for bfloat16 on a GPU without it.
    """
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bfloat16" and device.type == "cuda" and not has_bf16:
        raise SapError(f"{setting} is bfloat16, but this GPU has none. Set it to auto or float32.")
    if precision == "auto":
        return "bfloat16" if has_bf16 else "float32"
    return precision


def autocast(device: torch.device, precision: str, setting: str) -> AbstractContextManager:
    """bf16 autocast where `resolve` says so, else nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=resolve(device, precision, setting) == "bfloat16")
