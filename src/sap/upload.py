"""Reading a client's upload: a PEFT adapter folder, without peft and without trust."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from sap.errors import SapError
from sap.factors import Factors, inner, is_finite
from sap.io import read_json, unreadable, verified

CONFIG_BYTES = 2**20  # adapter_config.json of a real adapter has 2 kB
ADAPTER_BYTES = 2**32  # rank 64 on every layer of ViT-bigG stays below
ANOTHER = "Use an adapter that was trained without it, or leave this one out."  # for a client and for a merge alike
LARGEST_NORM = 1e15  # squares of larger entries overflow float32
OUT_PROJ = ".base_layer.out_proj"  # peft wraps an nn.MultiheadAttention as one module and its out_proj as another


def read_adapter(folder: str | Path) -> dict[str, Factors]:
    """Factors of every layer of a PEFT LoRA adapter of any model; float32, scale folded into B.

    A (r, n), B (m, r); the scale is alpha / r, or alpha / √r for rsLoRA. A layer is named as its weight in the model:
    the module's path and `.weight`, or `.in_proj_weight` where the module is an nn.MultiheadAttention. SapError names
    the file and the layer if anything is not as a plain LoRA must be.
    """
    config_path, path = Path(folder) / "adapter_config.json", Path(folder) / "adapter_model.safetensors"
    _check_size(config_path, CONFIG_BYTES)
    _check_size(path, ADAPTER_BYTES)
    verified(config_path), verified(path)
    try:
        config = read_json(config_path)
    except RecursionError as error:
        raise unreadable(config_path, error) from error
    _check_config(config, config_path)
    layers: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(str(path), framework="pt") as handle:
            parts = {key: _parts(key, path) for key in handle.keys()}  # noqa: SIM118
            attentions = {module.removesuffix(OUT_PROJ) for module, _ in parts.values() if module.endswith(OUT_PROJ)}
            for key, (module, factor) in parts.items():
                layer = _layer_of(module, attentions)
                kind, size = handle.get_slice(key).get_dtype(), handle.get_slice(key).get_shape()
                if kind not in ("F16", "BF16", "F32", "F64") or len(size) != 2:
                    raise _bad(path, f"{layer}: lora_{factor} must be a matrix of floats, got {kind} {list(size)}")
                if factor in layers.setdefault(layer, {}):
                    raise _bad(path, f"{layer}: lora_{factor} must be there once, {key!r} is its second")
                layers[layer][factor] = handle.get_tensor(key).float()
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error
    if not layers:
        raise _bad(path, "there must be lora_A and lora_B of at least one layer, the file is empty")
    return {layer: _factors(layer, found, attentions, config, path) for layer, found in layers.items()}


def _factors(
    layer: str, found: Mapping[str, Tensor], attentions: set[str], config: Mapping[str, Any], path: Path
) -> Factors:
    """Check one layer's factors and fold alpha / r (rsLoRA: alpha / √r) into B; the only place with alpha.

    The out_proj of an attention has the attention's patterns, and counts as often as the peft that wrote the file
    applies it.
    """
    if set(found) != {"A", "B"}:
        raise _bad(path, f"{layer}: must have lora_A and lora_B, has only lora_{next(iter(found))}")
    A, B = found["A"], found["B"]
    attention = re.sub(r"\.(out_proj\.weight|in_proj_weight)$", "", layer)
    module = attention if attention in attentions else layer.removesuffix(".weight")
    rank = _pattern(config.get("rank_pattern"), module, config["r"], path.parent)
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"], path.parent)
    if A.shape[0] != B.shape[1] or A.shape[0] != rank:
        raise _bad(path, f"{layer}: A {list(A.shape)} and B {list(B.shape)} must both have the config's rank {rank}")
    if not (is_finite(A) and is_finite(B)):
        raise _bad(path, f"{layer}: all numbers must be finite, found NaN or Inf")
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if module in attentions and layer.endswith(".out_proj.weight"):
        scale *= out_proj_times(config.get("peft_version"))
    factors = Factors(A, B * scale)
    if not inner(factors, factors) < LARGEST_NORM**2:
        raise _bad(path, f"{layer}: its norm must stay below {LARGEST_NORM:.0e}, or float32 overflows")
    return factors


def out_proj_times(peft_version: str | None) -> int:
    """How often peft adds the update of an attention's out_proj: twice up to 0.21.2 (huggingface/peft#3774), else once.

    An adapter means what its own peft computes with it, so this is part of reading one, and of training one.
    Files without a version are older than 0.21.
    """
    numbers = [int(part) for part in re.findall(r"\d+", peft_version or "0")[:3]]
    return 2 if numbers <= [0, 21, 2] else 1


def _check_config(config: Any, path: Path) -> None:
    """A plain LoRA: nothing that adds parameters, and no initialisation that changes the backbone."""
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise _bad(path, "peft_type must be LORA")
    _positive(config.get("r"), "r", path, whole=True)
    _positive(config.get("lora_alpha"), "lora_alpha", path)
    plain = {"bias": "none", "fan_in_fan_out": False, "loftq_config": {}}
    extra = ("use_dora", "lora_bias", "modules_to_save", "use_qalora", "use_bdlora", "layer_replication")
    extra += ("target_parameters", "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config")
    for name in (*plain, *extra):
        if config.get(name) and config[name] != plain.get(name):
            raise _bad(path, f"{name} is set to {config[name]!r}, only plain LoRA can be merged", ANOTHER)
    if config.get("init_lora_weights", True) not in (True, False, "gaussian", "orthogonal", "eva"):
        raise _bad(path, f"init_lora_weights {config['init_lora_weights']!r} may change the backbone", ANOTHER)


def _pattern(patterns: Any, module: str, default: float, folder: Path) -> float:
    """peft's rank_pattern / alpha_pattern: the first key that matches the end of the module's path wins."""
    path = folder / "adapter_config.json"
    if not isinstance(patterns or {}, dict):
        raise _bad(path, "rank_pattern and alpha_pattern must be mappings")
    for key, value in (patterns or {}).items():
        if not re.fullmatch(r"\^?[\w.\\]{1,200}", key) or key.endswith("\\"):  # no quantifiers from strangers
            raise _bad(path, f"pattern {key!r} must be a plain module path")
        if re.fullmatch(rf"(.*\.)?({key})", module):
            _positive(value, key, path)
            return value
    return default


def _positive(value: Any, name: str, path: Path, whole: bool = False) -> None:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < 1e6:
        raise _bad(path, f"{name} must be a positive {'integer' if whole else 'number'} below 1e6, got {value!r}")


def _parts(key: str, path: Path) -> tuple[str, str]:
    """PEFT's key -> (path of the module inside PEFT's wrapper, "A" or "B")."""
    match = re.fullmatch(r"base_model\.model\.([\w.]+)\.lora_([AB])\.weight", key)
    if not match:
        raise _bad(path, f"unexpected key {key!r}, expected base_model.model.<module>.lora_A.weight or lora_B.weight")
    return match[1], match[2]


def _layer_of(module: str, attentions: set[str]) -> str:
    """The weight's path in the model. An nn.MultiheadAttention always comes with its wrapped out_proj."""
    if module.endswith(OUT_PROJ):
        return f"{module.removesuffix(OUT_PROJ)}.out_proj.weight"
    return f"{module}.in_proj_weight" if module in attentions else f"{module}.weight"


def _check_size(path: Path, limit: int) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    if size > limit:
        raise _bad(path, f"must not be larger than {limit} bytes, has {size}")


def _bad(path: Path, what: str, step: str = "Put a sound copy of the adapter there, or leave it out.") -> SapError:
    return SapError(f"{path}: {what}. {step}")
