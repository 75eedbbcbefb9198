"""What the plan must know of a backbone before any job runs: the input geometry and the files it is read from."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sap.clip.supported import HUB, check_config, check_named, why_not
from sap.data.sources import SOURCES
from sap.errors import SapError, shown
from sap.foreign import JSON_BYTES, read_json
from sap.realfile import real_file
from sap.registry import unknown


def input_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Geometry of the images the backbone sees: {"size": pixels, "interpolation", "mode"}.

    A tag's own preprocessing is known only after its download, so it counts as bicubic/shortest here;
    prepare_backbone refuses, with the key to set, where the checkpoint says something else.
    """
    backbone = settings["backbone"]
    model: Mapping[str, Any] = {}
    preprocess: Mapping[str, Any] = {}
    if backbone["kind"] == "scratch":
        corpus = SOURCES[settings["data"]["source"]].corpus
        size = corpus.size(settings["data"]) if corpus else None
    else:
        model, preprocess = _configs(backbone)
        size = model["vision_cfg"]["image_size"]
    if isinstance(size, list):
        if len(set(size)) > 1:
            raise SapError(f"backbone: its images are {size[0]} x {size[1]} pixels; only square inputs are supported.")
        size = size[0]
    return {
        "size": size,
        "interpolation": backbone["interpolation"] or preprocess.get("interpolation", "bicubic"),
        "mode": backbone["resize_mode"] or preprocess.get("resize_mode", "shortest"),
    }


def tower_of(settings: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """(width, blocks) of the towers that LoRA adapts, as the model's config says; None where it does not."""
    backbone = settings["backbone"]
    if backbone["kind"] == "scratch":
        return backbone["scratch"]["width"], backbone["scratch"]["layers"]
    model = _configs(backbone)[0]
    vision, text = model["vision_cfg"], model.get("text_cfg")
    widths = [vision.get("width")]
    if settings["evidence"]["towers"] and isinstance(text, dict):
        widths.append(text.get("width"))
    known, layers = [width for width in widths if isinstance(width, int)], vision.get("layers")
    return min(known, default=None), layers if isinstance(layers, int) else None


def files_of(backbone: Mapping[str, Any]) -> list[str]:
    """Local files that a `checkpoint` backbone is read from, as inputs of prepare_backbone."""
    if backbone["kind"] != "checkpoint":
        return []
    checkpoint = Path(backbone["checkpoint"])
    if checkpoint.is_file() and not (backbone["model"] or backbone["model_config"]):
        raise SapError(
            "backbone.model or backbone.model_config must be set when backbone.checkpoint is a weights file."
        )
    if backbone["checkpoint"].startswith(HUB):
        raise SapError(
            f"backbone.checkpoint: {checkpoint} names a repository of the Hugging Face hub. Download its "
            "open_clip_config.json and weights into a folder, and name that."
        )
    if not checkpoint.exists():
        raise SapError(f"backbone.checkpoint: {checkpoint} does not exist. Name a weights file or an open_clip folder.")
    if checkpoint.is_dir():
        files = sorted(path for path in checkpoint.iterdir() if path.suffix in {".json", ".safetensors", ".bin", ".pt"})
    else:
        files = [real_file(checkpoint)]
    return [str(path) for path in files] + ([backbone["model_config"]] if backbone["model_config"] else [])


def _configs(backbone: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """(model_cfg, preprocess_cfg) without importing open_clip: its model configs are JSON files."""
    folder = Path(backbone["checkpoint"] or "")
    if backbone["kind"] == "checkpoint" and folder.is_dir():
        config = _user_json(folder / "open_clip_config.json", "backbone.checkpoint")
        return _model_cfg(config, folder / "open_clip_config.json"), config.get("preprocess_cfg", {})
    if backbone["model_config"]:
        return _model_cfg(_user_json(backbone["model_config"], "backbone.model_config"), backbone["model_config"]), {}
    check_named(backbone["model"], backbone["pretrained"] if backbone["kind"] == "pretrained" else None)
    known = {path.stem: path for path in _open_clip_configs().glob("*.json")}
    if backbone["model"] not in known:
        usable = [name for name, path in sorted(known.items()) if not why_not(read_json(path))]
        raise SapError(f"backbone.model: {unknown('open_clip model', backbone['model'], usable)}")
    return _model_cfg(read_json(known[backbone["model"]]), f"backbone.model {backbone['model']}"), {}


def _user_json(path: str | Path, key: str) -> Mapping[str, Any]:
    try:
        real_file(path, JSON_BYTES)
    except SapError as error:
        raise SapError(f"{key}: {error}") from error
    try:
        config = read_json(path)
    except SapError as error:
        reason = shown(str(error.__cause__))
        raise SapError(f"{key}: {path} is no readable JSON file ({reason}). Name one in open_clip's format.") from error
    if not isinstance(config, dict):
        raise SapError(f"{key}: {path} must hold a JSON object in open_clip's format, got {type(config).__name__}.")
    return config


def _model_cfg(config: Mapping[str, Any], path: str | Path) -> Mapping[str, Any]:
    """The model's part of a config, seen to be of a kind that a study can use, and as open_clip has it."""
    model = config.get("model_cfg", config)
    vision = model.get("vision_cfg") if isinstance(model, dict) else None
    size = vision.get("image_size") if isinstance(vision, dict) else None
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not isinstance(config.get("preprocess_cfg", {}), dict):
        raise SapError(f"{path}: preprocess_cfg must be a JSON object, got {shown(config['preprocess_cfg'])}.")
    if not all(type(side) is int for side in sides):
        raise SapError(
            f"{path}: expected an open_clip model config with vision_cfg.image_size (a whole number, or two), got "
            f"{shown(size)}."
        )
    check_config(model, path)
    return model


def _open_clip_configs() -> Path:
    spec = importlib.util.find_spec("open_clip")  # locates the package without running it
    if spec is None or spec.origin is None:
        raise SapError("open_clip is not installed. Run `make environment`.")
    return Path(spec.origin).parent / "model_configs"
