"""LoRA on the transformers of CLIP, with PEFT: injection, start values, saving.

PEFT adapts `nn.MultiheadAttention` as one piece, in_proj and out_proj together. Up to PEFT 0.21.2 its forward adds
out_proj's update twice (W0 + 2ΔW; huggingface/peft#3774, open) but passes back the gradient of one, and by adding and
subtracting leaves W0 with rounding errors after each step. `ExactAttention` computes the same function with its exact
gradient and without touching W0, so an adapter means the same in training, in stock PEFT and on the server, which
reads it with `sap.upload.out_proj_times`.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import torch
import torch.distributed.tensor  # peft reads it without importing it: transformers would have, see sap.imports
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import MultiheadAttention
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention

from sap.clip.checkpoint import Model
from sap.clip.options import LoraOptions
from sap.errors import SapError
from sap.io import atomic, seed_of, write_json
from sap.upload import out_proj_times

ADAPTER = "default"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
OUT_PROJ_TIMES = out_proj_times(peft.__version__)
MODULES = {"attention": "attn", "mlp_in": r"mlp\.c_fc", "mlp_out": r"mlp\.c_proj"}


class ExactAttention(MultiheadAttention):
    """PEFT's LoRA for nn.MultiheadAttention: the same function, differentiated exactly, W0 untouched.

    The update is computed beside W0, not added to it, so that no step makes a gradient of the size of W0.
    """

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs):
        """Self-attention (N,T,W) as open_clip's blocks call it: one input, batch first, no weights returned.

        `attn_mask`: None in the visual blocks; in the text blocks (T,T) floats that are added to the scores.
        """
        if self.disable_adapters:
            return self.base_layer(query, key, value, **kwargs)
        attention: Any = self.get_base_layer()
        mask = kwargs.get("attn_mask")
        # Of a boolean mask nn.MultiheadAttention and scaled_dot_product_attention mean the opposite.
        odd_mask = mask is not None and (mask.dim() != 2 or not mask.is_floating_point())
        if kwargs.get("need_weights", True) or odd_mask or not (key is query is value and attention.batch_first):
            raise NotImplementedError("LoRA here adapts batch-first self-attention, one float mask, weights not needed")
        projected = linear(query, attention.in_proj_weight, attention.in_proj_bias) + _update(self, query)
        heads = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (3,N,heads,T,W/heads)
        mask = None if mask is None else mask.to(heads.dtype)
        q, k, v = heads
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        out = attention.out_proj
        base = out.get_base_layer()
        return linear(mixed, base.weight, base.bias) + OUT_PROJ_TIMES * _update(out, mixed), None


def _update(layer: Any, inputs: torch.Tensor) -> torch.Tensor:
    """What the layer's active adapters add to its output: scale · B(A(inputs))."""
    return sum(layer.lora_B[name](layer.lora_A[name](inputs)) * layer.scaling[name] for name in layer.active_adapters)


def add_adapter(model: Model, options: LoraOptions, seed: int, trainee: str) -> PeftModel:
    """Wrap an open_clip model (in place) with a LoRA adapter on its visual blocks; only the adapter trains.

    With `towers="both"` every block of the text transformer has the same targets; `first_block` is the visual tower's.

    The update is zero at the start. `factors="both"` and `"B"`: A (r,n) is uniform in ±1/√n (as in PEFT), B (m,r) is
    zero. `factors="A"`: A trains, so A is zero and the frozen B is uniform in ±1/√m; with B at zero too, no gradient
    would ever reach A. The random factor comes from (seed, layer), and with `start="independent"` also from `trainee`.

    Dropout acts on the MLP layers only: the attention's update is part of its weight, where there is no input to drop.
    Raises SapError for a tower without transformer blocks, a rank above the tower's width, a first block that the
    visual tower does not have, or dropout without an MLP layer.
    """
    _check(model, options)
    wanted = "|".join(MODULES[name] for name in options.targets)
    blocks = "|".join(map(str, range(options.first_block, len(model.visual.transformer.resblocks))))
    modules = rf"visual\.transformer\.resblocks\.({blocks})\.({wanted})"
    if options.towers == "both":
        modules += rf"|transformer\.resblocks\.\d+\.({wanted})"
    alpha: Any = options.alpha  # peft computes with any number, and says int
    config = LoraConfig(r=options.rank, lora_alpha=alpha, lora_dropout=options.dropout, target_modules=modules)
    config._register_custom_module({nn.MultiheadAttention: ExactAttention})
    with torch.random.fork_rng(devices=[]):
        adapted = get_peft_model(model, config).eval()  # PEFT adds its dropout in training mode
    names: tuple[str | int, ...] = ("lora-start", seed) if options.start == "shared" else ("lora-start", seed, trainee)
    for layer, module in lora_layers(adapted):
        factor_a, factor_b = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
        drawn, zero = (factor_b, factor_a) if options.factors == "A" else (factor_a, factor_b)
        bound = max(drawn.shape) ** -0.5 if options.factors == "A" else drawn.shape[1] ** -0.5
        generator = torch.Generator().manual_seed(seed_of(*names, layer))
        with torch.no_grad():
            drawn.copy_(torch.empty(drawn.shape).uniform_(-bound, bound, generator=generator))
            zero.zero_()
        factor_a.requires_grad_(options.factors != "B")
        factor_b.requires_grad_(options.factors != "A")
    return adapted


def _check(model: Model, options: LoraOptions) -> None:
    blocks = _blocks(model.visual)
    if not blocks:
        raise SapError(
            "backbone: LoRA needs a visual transformer with open_clip's standard blocks, this model's visual tower is "
            f"{type(model.visual).__name__}. Choose a ViT such as ViT-B-32, not a ResNet, timm or custom-attention one."
        )
    adapted = [blocks]
    if options.towers == "both":
        if not (text_blocks := _blocks(model)):
            raise SapError(
                "train.lora.towers: both needs the text transformer of open_clip's plain CLIP, this model is a "
                f"{type(model).__name__}. Set it to visual or choose a model such as ViT-B-32."
            )
        adapted.append(text_blocks)
    width = min(tower[0].attn.embed_dim for tower in adapted)
    if options.rank > width:
        raise SapError(
            f"train.lora.rank must be at most the tower's width {width}, was {options.rank}. Choose a smaller rank."
        )
    if options.first_block >= len(blocks):
        raise SapError(
            f"train.lora.first_block must be below the tower's {len(blocks)} blocks, was {options.first_block}. "
            "Choose a smaller one."
        )
    if options.dropout and options.targets == ("attention",):
        raise SapError("train.lora.dropout acts on MLP layers only, and train.lora.targets has none. Set it to 0.")


def _blocks(tower: nn.Module) -> Any:
    """The tower's transformer blocks; None where it has none, or others than open_clip's standard ones."""
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", None)
    return blocks if blocks and isinstance(getattr(blocks[0], "attn", None), nn.MultiheadAttention) else None


def lora_layers(adapted: nn.Module) -> Iterator[tuple[str, Any]]:
    """(module path inside PEFT's wrapper, LoRA module) of every adapted layer; out_proj is a layer of its own."""
    for name, module in adapted.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def trainable(adapted: PeftModel) -> dict[str, nn.Parameter]:
    """The adapter's trained factors by name, in the model's order."""
    return {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}


def set_dropout(adapted: PeftModel, active: bool) -> None:
    """Switch LoRA dropout on or off; everything else of the model stays in evaluation mode."""
    for _, module in lora_layers(adapted):
        module.lora_dropout.train(active)


def save_adapter(adapted: PeftModel, folder: str | Path) -> int:
    """Write adapter_config.json and adapter_model.safetensors in PEFT's format; returns their bytes together.

    Equal adapters give equal bytes: the config holds no machine path, and PEFT's model card is left out.
    `PeftModel.from_pretrained(open_clip_model, folder)` loads the folder.
    """
    folder = Path(folder)
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    # Everything happens inside `atomic`, so that a full disk at any moment is the same one sentence.
    with atomic(weights) as temporary, tempfile.TemporaryDirectory(dir=folder, prefix=f"{temporary.name}.") as scratch:
        adapted.save_pretrained(scratch)
        settings = json.loads((Path(scratch) / config.name).read_text(encoding="utf-8"))
        os.replace(Path(scratch) / weights.name, temporary)
    write_json(config, settings | {"base_model_name_or_path": None})
    return weights.stat().st_size + config.stat().st_size
