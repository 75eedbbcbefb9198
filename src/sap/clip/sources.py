"""Where a ready-made backbone comes from: an open_clip name and tag (a download), or local files."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import open_clip

from sap.clip.checkpoint import (
    CONFIG_FILE,
    Model,
    build_model,
    load_weights,
    preprocess_of,
    read_config,
    read_weights,
)
from sap.clip.download import tag_weights
from sap.clip.options import INTERPOLATIONS, RESIZE_MODES, BackboneOptions
from sap.clip.supported import check_config, check_named, why_not
from sap.errors import SapError
from sap.registry import unknown

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
TORCH_WEIGHTS = ("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", "open_clip_pytorch_model.pt")


class Source(NamedTuple):
    """A model with everything that its artifact's config file says."""

    model: Model
    model_cfg: Mapping[str, Any]
    preprocess_cfg: Mapping[str, Any]


def from_pretrained(options: BackboneOptions) -> Source:
    """An open_clip model by name and pretrained tag; downloads the weights unless the hub's cache has them.

    Raises SapError for an unknown name or tag, a tag trained with the other GELU, and a download that fails.
    """
    name, tag = str(options.model), str(options.pretrained)
    check_named(name, tag)
    model_cfg = _named_config(name)
    own, others = _tags_of(name), _tags_of(_twin(name))
    if tag not in own and tag in others:
        # open_clip only warns here; the accuracy would silently be a few points lower.
        with_it = "without" if model_cfg.get("quick_gelu") else "with"
        raise SapError(
            f"backbone.model: the tag {tag} was trained {with_it} QuickGELU. Set backbone.model to {_twin(name)}."
        )
    if tag not in own:
        more = f" {_twin(name)} has {', '.join(others)}." if others else ""
        raise SapError(f"backbone.pretrained: {unknown(f'tag of {name}', tag, own)}{more}")
    tag_cfg = open_clip.get_pretrained_cfg(name, tag)
    model = build_model(model_cfg, f"backbone.model {name}")  # refuses what cannot be used, before the download
    path = tag_weights(tag_cfg, f"{name} with tag {tag}")
    load_weights(model, read_weights(path), path)
    return Source(model, model_cfg, preprocess_of(tag_cfg, model_cfg))


def from_checkpoint(options: BackboneOptions) -> Source:
    """A model from local files: a folder in open_clip's format, or a weights file with `model` or `model_config`.

    Nothing pickled is ever executed. Raises SapError for whatever does not fit together.
    """
    path = Path(str(options.checkpoint))
    if path.is_dir():
        model_cfg, preprocess = read_config(path / CONFIG_FILE)
        weights = _weights_in(path)
    elif not path.exists():
        raise SapError(
            f"backbone.checkpoint: {path} does not exist. Name a weights file or a folder in open_clip's format."
        )
    elif options.model_config:
        model_cfg, preprocess = read_config(options.model_config)
        weights = path
    elif options.model:
        check_named(options.model, None)
        model_cfg = _named_config(options.model)
        preprocess, weights = preprocess_of({}, model_cfg), path
    else:
        raise SapError(
            f"backbone: {path} is a weights file, so backbone.model or backbone.model_config must say its model."
        )
    model = build_model(model_cfg, path)
    load_weights(model, read_weights(weights), weights)
    return Source(model, model_cfg, preprocess)


def check_preprocess(options: BackboneOptions, preprocess_cfg: Mapping[str, Any]) -> None:
    """Refuse where images were planned to be fitted in another way than the checkpoint's own; null counts as
    bicubic and shortest for a tag, and follows the checkpoint elsewhere. Refuse what nobody could fit, too."""
    for key, allowed in (("interpolation", INTERPOLATIONS), ("resize_mode", RESIZE_MODES)):
        if preprocess_cfg[key] not in allowed:
            raise SapError(
                f"backbone: the checkpoint's preprocess_cfg.{key} must be one of {', '.join(allowed)}, was "
                f"{preprocess_cfg[key]!r}. Correct its config file."
            )
    for key, low in (("mean", -math.inf), ("std", 0)):
        values = preprocess_cfg[key]
        numbers = isinstance(values, list) and all(isinstance(value, (int, float)) for value in values)
        if not numbers or len(values) != 3 or not all(low < value < math.inf for value in values):
            raise SapError(
                f"backbone: the checkpoint's preprocess_cfg.{key} must be three numbers{' above 0' * (low == 0)}, was "
                f"{values!r}. Correct its config file."
            )
    planned = {"interpolation": options.interpolation, "resize_mode": options.resize_mode}
    if options.kind == "pretrained":
        planned = {
            "interpolation": planned["interpolation"] or "bicubic",
            "resize_mode": planned["resize_mode"] or "shortest",
        }
    for key, value in planned.items():
        if value is not None and value != preprocess_cfg[key]:
            raise SapError(
                f"backbone.{key} is {value}, but the checkpoint's own is {preprocess_cfg[key]}. Set it to that."
            )


def _named_config(name: str | None) -> dict[str, Any]:
    """The config of an open_clip model that a study can use; SapError for another, naming only usable ones."""
    names = open_clip.list_models()
    if name not in names:
        usable = [known for known in names if not why_not(open_clip.get_model_config(known))]
        raise SapError(f"backbone.model: {unknown('open_clip model', name, usable)}")
    model_cfg = open_clip.get_model_config(name)
    check_config(model_cfg, f"backbone.model {name}")
    return model_cfg


def _twin(name: str) -> str:
    """The same model with the other GELU, as open_clip names it; there may be none."""
    return name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"


def _tags_of(name: str) -> list[str]:
    """Tags of a model that were trained with its GELU; none of a model that there is not."""
    if name not in open_clip.list_models():
        return []
    quick = bool(open_clip.get_model_config(name).get("quick_gelu", False))
    tags = open_clip.list_pretrained_tags_by_model(name)
    return [tag for tag in tags if bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)) == quick]


def _weights_in(folder: Path) -> Path:
    found = [folder / name for name in (*WEIGHTS, *TORCH_WEIGHTS) if (folder / name).exists()]
    if not found:
        raise SapError(f"{folder}: holds no weights file; expected {WEIGHTS[0]}. Copy it there or name another folder.")
    return found[0]
