"""Reading and writing open_clip checkpoints: no code from a weights file ever runs, and every fault is one sentence.

The format is open_clip's own local directory: `open_clip_config.json` ({"model_cfg", "preprocess_cfg"}) beside
`open_clip_model.safetensors`, which open_clip itself loads as `local-dir:FOLDER`.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from open_clip import CLIP, CoCa, CustomTextCLIP
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transform import PreprocessCfg
from torch import nn

from sap.clip.supported import check_config
from sap.clip.torchfile import most_bytes, read_torch_file
from sap.errors import SapError
from sap.foreign import JSON_BYTES, read_json
from sap.io import load_tensors, save_tensors, write_json
from sap.realfile import real_file

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
Model: TypeAlias = CLIP | CustomTextCLIP  # what `build_model` makes; open_clip comes without types
PREPROCESS_KEYS = ("size", "mean", "std", "interpolation", "resize_mode")


def build_model(model_cfg: Mapping[str, Any], where: str | Path) -> Model:
    """An open_clip model with random float32 weights, in evaluation mode.

    The class is chosen as open_clip.create_model does; flags such as `quick_gelu` are taken from `model_cfg`
    as they are. Draws from torch's global generator: fork and seed it where the weights matter.
    Raises SapError with `where` for a config that open_clip cannot build.
    """
    given = copy.deepcopy(dict(model_cfg))
    check_config(given, where)
    try:
        custom_text = given.pop("custom_text", False)
        if not custom_text:
            return CLIP(**given).eval()
        return (CoCa if "multimodal_cfg" in given else CustomTextCLIP)(**given).eval()
    except (KeyError, TypeError, ValueError, AssertionError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        raise SapError(
            f"{where}: open_clip cannot build this model config ({type(error).__name__}: {error}). "
            "Compare it with a config under open_clip/model_configs."
        ) from error


def read_config(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(model_cfg, preprocess_cfg) of an open_clip config file; preprocessing left out there takes open_clip's defaults.

    Accepts both the full form {"model_cfg", "preprocess_cfg"} and a bare model config. Raises SapError.
    """
    config = read_json(real_file(path, JSON_BYTES))
    if not isinstance(config, dict):
        raise SapError(f"{path}: must hold a JSON object with model_cfg, got a {type(config).__name__}.")
    model_cfg, preprocess = config.get("model_cfg", config), config.get("preprocess_cfg") or {}
    if not isinstance(model_cfg, dict) or not isinstance(preprocess, dict):
        raise SapError(f"{path}: model_cfg and preprocess_cfg must be JSON objects, as in open_clip's format.")
    missing = [name for name in ("embed_dim", "vision_cfg", "text_cfg") if name not in model_cfg]
    missing += [name for name in ("vision_cfg", "text_cfg") if not isinstance(model_cfg.get(name, {}), dict)]
    if missing:
        raise SapError(f"{path}: the model config lacks {', '.join(missing)}. It must be in open_clip's format.")
    preprocess, own = preprocess_of(preprocess, model_cfg), model_cfg["vision_cfg"].get("image_size", 224)
    if _sides(preprocess["size"]) != _sides(own):  # images are stored at the model's own size
        raise SapError(
            f"{path}: preprocess_cfg.size is {preprocess['size']}, the model's image_size is {own}. Make them equal."
        )
    return model_cfg, preprocess


def preprocess_of(given: Mapping[str, Any], model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The five preprocessing values, with open_clip's defaults; size defaults to the model's own image size."""
    defaults = vars(PreprocessCfg()) | {"size": model_cfg["vision_cfg"].get("image_size", 224)}
    chosen = {name: defaults[name] if given.get(name) is None else given[name] for name in PREPROCESS_KEYS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}


def _sides(size: Any) -> tuple[Any, ...]:
    return tuple(size) if isinstance(size, (list, tuple)) else (size, size)


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Weights of a .safetensors file, or of a torch file without any pickled objects; names as in the file.

    Unwraps {"state_dict": ...} and a `module.` prefix. Raises SapError for missing, truncated or unsafe files.
    """
    path = real_file(path)
    if path.suffix == ".safetensors":
        return load_tensors(path)
    loaded = read_torch_file(path)
    weights = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()
    ):
        raise SapError(
            f"{path}: must hold a state dict (names to tensors). Save `model.state_dict()` and name that file."
        )
    odd = [name for name, value in weights.items() if not _is_plain(value)]
    if odd or sum(value.nbytes for value in weights.values()) > most_bytes(path):
        what = f"{odd[0]} is no plain tensor" if odd else "its tensors have more numbers than the file"
        raise SapError(
            f"{path}: {what}. Save the weights as dense tensors, `value.clone()` of each, and name that file."
        )
    return {name.removeprefix("module."): tensor for name, tensor in weights.items()}


def _is_plain(tensor: torch.Tensor) -> bool:
    """True for numbers in memory, one by one: not sparse, not quantised, not without data."""
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], where: str | Path) -> None:
    """Copy `weights` into `model`; names and shapes must match exactly, values become float32.

    Third-party and older layouts are converted as open_clip does; a different image size or context length is
    refused and not interpolated. Raises SapError naming the first weights that do not fit.
    """
    own = model.state_dict()
    try:
        given = dict(convert_state_dict(model, dict(weights)))
        if "positional_embedding" in given and not hasattr(model, "positional_embedding"):
            given = convert_to_custom_text_state_dict(given)
    except Exception as error:  # it takes a layout for granted once it has seen one of its names
        raise SapError(
            f"{where}: its names look like those of a layout that open_clip converts, but the conversion fails "
            f"({type(error).__name__}: {error}). Name weights in open_clip's own layout."
        ) from error
    for name in ("logit_scale", "logit_bias"):
        if name in given and name in own and given[name].numel() == 1:
            given[name] = given[name].reshape(own[name].shape)
    _refuse("lacks", [name for name in own if name not in given], where)
    _refuse("has unknown", [name for name in given if name not in own], where)
    wrong = [name for name in own if own[name].shape != given[name].shape]
    if wrong:
        name = wrong[0]
        raise SapError(
            f"{where}: {name} must have shape {tuple(own[name].shape)} for this model config, "
            f"was {tuple(given[name].shape)} ({len(wrong)} such weights). Use the config that belongs to the weights."
        )
    coded = [name for name in own if own[name].is_floating_point() and given[name].dtype not in FLOATS]
    if coded:
        name = coded[0]
        raise SapError(
            f"{where}: {name} holds {given[name].dtype}, not plain floating-point numbers ({len(coded)} such weights). "
            "Name the weights before quantisation."
        )
    broken = [name for name, value in given.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise SapError(f"{where}: {broken[0]} holds NaN or infinity. Use another copy of the weights.")
    model.load_state_dict(given)


def _refuse(verb: str, names: list[str], where: str | Path) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise SapError(
            f"{where}: {verb} weights {names[0]}{more}, so it does not belong to this model config. "
            "Name the model (or model_config) that the weights were trained with."
        )


def save_checkpoint(
    folder: str | Path, model: nn.Module, model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any]
) -> None:
    """Write weights (float32 as held) and config in open_clip's local-directory format, each atomically."""
    folder = Path(folder)
    # safetensors refuses tensors that share memory; a clone costs one copy of the model.
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    save_tensors(folder / WEIGHTS_FILE, weights)
    write_json(folder / CONFIG_FILE, {"model_cfg": dict(model_cfg), "preprocess_cfg": dict(preprocess_cfg)})
