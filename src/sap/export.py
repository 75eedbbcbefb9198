"""Writing an update as a PEFT LoRA adapter folder, without peft: the inverse of `sap.upload.read_adapter`.

Stock peft loads the folder and computes W0 + B A, layer by layer with the rank r that the layer has: lora_alpha = r, so
the scaling is 1; ranks that differ from the most common one are in rank_pattern and alpha_pattern.

peft adapts an nn.MultiheadAttention (`X.in_proj_weight` and `X.out_proj.weight`) as one piece of one rank, so the
smaller of the two is padded with zeros; and up to 0.21.2 it adds out_proj's update twice, so half of it is written,
with the version that makes it whole (`sap.upload.out_proj_times`).
"""

import re
from collections import Counter
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from sap.errors import SapError
from sap.factors import Factors, as_factors
from sap.io import save_tensors, write_json
from sap.update import Update
from sap.upload import OUT_PROJ, out_proj_times


def write_adapter(
    folder: str | Path, update: Update, base_model: str | None = None, task_type: str | None = None
) -> None:
    """Write adapter_model.safetensors and adapter_config.json of an update whose every layer is Factors.

    `base_model` and `task_type` are what peft's Auto classes look for. SapError for a dense layer, or for a weight
    that no LoRA module of peft has.
    """
    version = metadata.version("peft")
    tensors: dict[str, Tensor] = {}
    targets = {layer: _target(layer, update) for layer in update}
    ranks = dict.fromkeys(targets.values(), 1)
    for layer, target in targets.items():
        ranks[target] = max(ranks[target], as_factors(update[layer]).A.shape[0])
    for layer, target in targets.items():
        factors = _padded(as_factors(update[layer]), ranks[target])
        module = target
        if layer == f"{target}.out_proj.weight":
            module, factors = f"{target}{OUT_PROJ}", factors._replace(B=factors.B / out_proj_times(version))
        tensors[f"base_model.model.{module}.lora_A.weight"] = factors.A.clone()  # safetensors refuses shared memory
        tensors[f"base_model.model.{module}.lora_B.weight"] = factors.B.clone()
    rank = Counter(ranks.values()).most_common(1)[0][0]
    # Anchored: text's `transformer.resblocks.0.attn` also ends vision's `visual.transformer.resblocks.0.attn`.
    pattern = {f"^{re.escape(target)}": own for target, own in ranks.items() if own != rank}
    config = {
        "peft_type": "LORA",
        "peft_version": version,
        "task_type": task_type,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "target_modules": list(ranks),
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
    }
    save_tensors(Path(folder) / "adapter_model.safetensors", tensors)
    write_json(Path(folder) / "adapter_config.json", config)


def _target(layer: str, update: Update) -> str:
    """The module that peft must wrap to adapt this weight; SapError where there is none."""
    if not isinstance(update[layer], Factors):
        raise SapError(f"layer {layer} is dense, and an adapter holds factors. Choose a rank to approximate it with.")
    attention = layer.removesuffix(".in_proj_weight").removesuffix(".out_proj.weight")
    if f"{attention}.in_proj_weight" in update and f"{attention}.out_proj.weight" in update:
        return attention
    if not layer.endswith(".weight"):
        raise SapError(
            f"layer {layer} cannot be in a PEFT adapter: it must be a linear module's `.weight`, or an attention's "
            "`.in_proj_weight` with its `.out_proj.weight`. Write the update itself instead."
        )
    return layer.removesuffix(".weight")


def _padded(factors: Factors, rank: int) -> Factors:
    """The same product with `rank` rows and columns, the new ones zero."""
    A, B = factors
    more = rank - A.shape[0]
    return Factors(torch.cat([A, A.new_zeros(more, A.shape[1])]), torch.cat([B, B.new_zeros(B.shape[0], more)], dim=1))
