"""Reading a client's upload: a PEFT adapter folder, without peft and without trust."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from torch import Tensor

from sap.errors import SapError, shown, unreadable
from sap.factors import Factors, inner, is_finite
from sap.foreign import JSON_BYTES, read_json, regular_file
from sap.io import open_tensors, verified
from sap.patterns import match_patterns

ADAPTER_BYTES = 2**32  # rank 64 on every layer of ViT-bigG stays below
ANOTHER = "Use an adapter that was trained without it, or leave this one out."  # for a client and for a merge alike
SMALL_RANK = 256  # its r × r products cost nothing, however small the layer is
LAYER_WEIGHTS = 2**31  # m · n of one layer, 8 GiB where a method makes it dense; Llama-405B's output has 98 % of it
MODEL_WEIGHTS = 2**40  # Σ m · n; the largest public models have as many
LONGEST_NAME = 500  # characters of a module's path
LARGEST_NORM = 1e15  # squares of larger entries overflow float32
OUT_PROJ = ".base_layer.out_proj"  # peft wraps an nn.MultiheadAttention as one module and its out_proj as another


class _Layer(NamedTuple):
    """What the file says of one layer before its numbers are read."""

    module: str  # the path that the config's patterns are about: an attention's out_proj has the attention's
    doubled: bool  # an attention's out_proj, which older peft applies twice
    keys: dict[str, str]  # "A", "B" -> key in the file
    shapes: dict[str, list[int]]  # "A" -> [r, n], "B" -> [m, r]


def read_adapter(folder: str | Path) -> dict[str, Factors]:
    """Factors of every layer of a PEFT LoRA adapter of any model; float32, scale folded into B.

    A (r, n), B (m, r); the scale is alpha / r, or alpha / √r for rsLoRA. A layer is named as its weight in the model:
    the module's path and `.weight`, or `.in_proj_weight` where the module is an nn.MultiheadAttention. SapError names
    the file and the layer if anything is not as a plain LoRA must be; sizes and names are checked before a number is
    read, so that a file never asks for more memory than a few times its own size.
    """
    config_path, path = Path(folder) / "adapter_config.json", Path(folder) / "adapter_model.safetensors"
    regular_file(path, ADAPTER_BYTES)
    config = read_json(verified(regular_file(config_path, JSON_BYTES)))
    _check_config(config, config_path)
    try:
        with open_tensors(path) as handle:
            layers = _layers(handle, path)
            scales = _scales(layers, config, path)
            read = handle.get_tensor
            return {
                layer: _factors(layer, read(found.keys["A"]), read(found.keys["B"]), scales[layer], path)
                for layer, found in layers.items()
            }
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error


def _layers(handle: Any, path: Path) -> dict[str, _Layer]:
    """The layers of an open adapter file, each with two matrices of floats; anything else in it is refused."""
    parts = {key: _parts(key, path) for key in handle.keys()}  # noqa: SIM118
    attentions = {module.removesuffix(OUT_PROJ) for module, _ in parts.values() if module.endswith(OUT_PROJ)}
    layers: dict[str, _Layer] = {}
    for key, (module, factor) in parts.items():
        layer = _layer_of(module, attentions)
        kind, size = handle.get_slice(key).get_dtype(), handle.get_slice(key).get_shape()
        if kind not in ("F16", "BF16", "F32", "F64") or len(size) != 2:
            raise _bad(path, f"{layer}: lora_{factor} must be a matrix of floats, got {kind} {shown(size)}")
        found = layers.setdefault(layer, _Layer(module.removesuffix(OUT_PROJ), module.endswith(OUT_PROJ), {}, {}))
        if factor in found.keys:
            raise _bad(path, f"{layer}: lora_{factor} must be there once, {key!r} is its second")
        found.keys[factor], found.shapes[factor] = key, size
    if not layers:
        raise _bad(path, "there must be lora_A and lora_B of at least one layer, the file is empty")
    for layer, found in layers.items():
        if set(found.keys) != {"A", "B"}:
            raise _bad(path, f"{layer}: must have lora_A and lora_B, has only lora_{next(iter(found.keys))}")
    return layers


def _scales(layers: Mapping[str, _Layer], config: Mapping[str, Any], path: Path) -> dict[str, float]:
    """Layer -> alpha / r (rsLoRA: alpha / √r), once the shapes are as the config says; the only place with alpha.

    The out_proj of an attention has the attention's patterns, and counts as often as the peft that wrote the file
    applies it.
    """
    modules = sorted({found.module for found in layers.values()})
    ranks = _per_module(config, "rank_pattern", "r", modules, path.parent)
    alphas = _per_module(config, "alpha_pattern", "lora_alpha", modules, path.parent)
    times = out_proj_times(config.get("peft_version"))
    scales, weights = {}, 0
    for layer, found in layers.items():
        rank, alpha = ranks[found.module], alphas[found.module]
        weights += _check_shapes(layer, found.shapes, rank, path)
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        scales[layer] = scale * times if found.doubled else scale
    if weights > MODEL_WEIGHTS:
        raise _bad(path, f"its layers must have at most {MODEL_WEIGHTS} weights in all, they have {weights}")
    return scales


def _check_shapes(layer: str, shapes: Mapping[str, list[int]], rank: int, path: Path) -> int:
    """The layer's weights m · n; SapError unless A (r, n) and B (m, r) have the config's rank, and that is affordable.

    A rank above min(m, n) has no use, but is trained: the same r on all linear modules includes MoE gates with one
    output. Up to m + n the products r × r have no more entries than A and B themselves.
    """
    (r, n), (m, s) = shapes["A"], shapes["B"]
    if r != s or r != rank:
        raise _bad(path, f"{layer}: A {shapes['A']} and B {shapes['B']} must both have the config's rank {rank}")
    if not 0 < m * n <= LAYER_WEIGHTS:
        raise _bad(path, f"{layer}: must have 1 to {LAYER_WEIGHTS} weights, is {m} × {n}")
    if rank > max(m + n, SMALL_RANK):
        raise _bad(path, f"{layer}: rank {rank} is too large for {m} × {n} weights, at most {max(m + n, SMALL_RANK)}")
    return m * n


def _factors(layer: str, A: Tensor, B: Tensor, scale: float, path: Path) -> Factors:
    """One layer in float32 with the scale folded into B; SapError for NaN, Inf and what overflows."""
    A, B = A.float(), B.float()
    if not (is_finite(A) and is_finite(B)):
        raise _bad(path, f"{layer}: all numbers must be finite, found NaN or Inf")
    factors = Factors(A, B * scale)
    if not inner(factors, factors) < LARGEST_NORM**2:
        raise _bad(path, f"{layer}: its norm must stay below {LARGEST_NORM:.0e}, or float32 overflows")
    return factors


def out_proj_times(peft_version: str | None) -> int:
    """How often peft adds the update of an attention's out_proj: twice up to 0.21.2 (huggingface/peft#3774), else once.

    An adapter means what its own peft computes with it, so this is part of reading one, and of training one.
    Files without a version are older than 0.21.
    """
    numbers = [int(part) for part in re.findall(r"\d{1,9}", peft_version or "0")[:3]]
    return 2 if numbers <= [0, 21, 2] else 1


def _check_config(config: Any, path: Path) -> None:
    """A plain LoRA: nothing that adds parameters, and no initialisation that changes the backbone."""
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise _bad(path, "peft_type must be LORA")
    _positive(config.get("r"), "r", path, whole=True)
    _positive(config.get("lora_alpha"), "lora_alpha", path)
    plain = {"bias": "none", "fan_in_fan_out": False, "loftq_config": {}}
    extra: tuple[str, ...] = (
        "use_dora",
        "lora_bias",
        "modules_to_save",
        "use_qalora",
        "use_bdlora",
        "layer_replication",
    )
    extra += ("target_parameters", "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config")
    for name in (*plain, *extra):
        if config.get(name) and config[name] != plain.get(name):
            raise _bad(path, f"{name} is set to {shown(config[name])}, only plain LoRA can be merged", ANOTHER)
    init = config.get("init_lora_weights", True)
    if init not in (True, False, "gaussian", "orthogonal", "eva"):
        raise _bad(path, f"init_lora_weights {shown(init)} may change the backbone", ANOTHER)
    if config.get("use_rslora") not in (None, True, False):
        raise _bad(path, f"use_rslora must be true or false, got {shown(config['use_rslora'])}")
    version = config.get("peft_version")
    if version is not None and not (isinstance(version, str) and re.match(r"\d{1,9}(\.|$)", version)):
        raise _bad(path, f"peft_version must be a version such as '0.21.2', got {shown(version)}")


def _per_module(
    config: Mapping[str, Any], name: str, default: str, modules: Iterable[str], folder: Path
) -> dict[str, Any]:
    """Module -> its rank or alpha: that of the first pattern in `name` that matches it, else the config's `default`."""
    path, patterns = folder / "adapter_config.json", config.get(name) or {}
    if not isinstance(patterns, dict):
        raise _bad(path, f"{name} must be a mapping, got {shown(patterns)}")
    try:
        found = match_patterns(patterns, modules)
    except SapError as error:
        raise SapError(f"{path}: {name}: {error}") from error
    for module, value in found.items():
        _positive(value, f"{name} of {module}", path, whole=default == "r")
    return dict.fromkeys(modules, config[default]) | found


def _positive(value: Any, name: str, path: Path, whole: bool = False) -> None:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < 1e6:
        kind = "integer" if whole else "number"
        raise _bad(path, f"{name} must be a positive {kind} below 1e6, got {shown(value)}")


def _parts(key: str, path: Path) -> tuple[str, str]:
    """PEFT's key -> (path of the module inside PEFT's wrapper, "A" or "B")."""
    match = re.fullmatch(rf"base_model\.model\.([A-Za-z0-9_.-]{{1,{LONGEST_NAME}}})\.lora_([AB])\.weight", key)
    if not match:
        raise _bad(
            path, f"unexpected key {shown(key)}, expected base_model.model.<module>.lora_A.weight or lora_B.weight"
        )
    return match[1], match[2]


def _layer_of(module: str, attentions: set[str]) -> str:
    """The weight's path in the model. An nn.MultiheadAttention always comes with its wrapped out_proj."""
    if module.endswith(OUT_PROJ):
        return f"{module.removesuffix(OUT_PROJ)}.out_proj.weight"
    return f"{module}.in_proj_weight" if module in attentions else f"{module}.weight"


def _bad(path: Path, what: str, step: str = "Put a sound copy of the adapter there, or leave it out.") -> SapError:
    return SapError(f"{path}: {what}. {step}")
