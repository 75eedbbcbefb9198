"""Penalties on a client's factors A (r,n) and B (m,r), summed over the adapted layers.

orthogonal  ‖A Aᵀ − I‖²_F      Zhang et al. 2023, "AdaLoRA"
pego        ‖W0 ΔWᵀ‖_1         Hu et al. 2024, "PEGO"; JudgingH/PEGO: domainbed/algorithms/algorithms.py (class PEGO);
                               the sum of |entries|, ΔW = α/r · B A. Rows of an update that are orthogonal to those of
                               W0 cost nothing. Where q, k and v are one weight (3w, n), each third is taken alone

Departures. orthogonal: AdaLoRA asks the same of its P, which is B here; BᵀB = I would fight the start at B = 0, where
ΔW is zero. pego: the authors train several adapters a layer and add Σ_{i<j} ‖ΔW_i ΔW_jᵀ‖_1, which keeps them apart;
here a layer has one, and that term is left out: what it does for their diversity is not tried. They adapt q and v alone
and have no α/r; here the sum is over whatever is adapted, so their weight of 1e-3 is a starting point and no more.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sap.clip.lora import ADAPTER, OUT_PROJ_TIMES, ExactAttention, lora_layers
from sap.upload import OUT_PROJ


def orthogonality(adapted: nn.Module) -> Tensor:
    """Σ ‖A Aᵀ − I‖²_F, a scalar."""
    factors = [module.lora_A[ADAPTER].weight for _, module in lora_layers(adapted)]
    return torch.stack([(a @ a.T - torch.eye(len(a)).to(a)).square().sum() for a in factors]).sum()


def overlap(adapted: nn.Module, scale: float) -> Tensor:
    """Σ ‖W0 (scale · B A)ᵀ‖_1, a scalar."""
    return scale * torch.stack([(w @ a.T @ b.T).abs().sum() for w, a, b in _layers(adapted)]).sum()


def _layers(adapted: nn.Module) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(W0 (m,n), A (r,n), B (m,r)) of every adapted layer; of an attention's q, k and v each."""
    for name, module in lora_layers(adapted):
        a, b, base = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight, module.get_base_layer()
        if isinstance(module, ExactAttention):
            yield from ((w, a, part) for w, part in zip(base.in_proj_weight.chunk(3), b.chunk(3), strict=True))
        else:
            yield base.weight, a, OUT_PROJ_TIMES * b if name.endswith(OUT_PROJ) else b
