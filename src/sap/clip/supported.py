"""Which backbones a study can use, told from their config and name alone: no torch, so that a plan knows it, too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sap.errors import SapError

HUB, FOLDER = "hf-hub:", "local-dir:"  # prefixes that open_clip itself takes for a model's name
FILES = {".pt", ".pth", ".bin", ".ckpt", ".safetensors"}


def why_not(model_cfg: Mapping[str, Any]) -> str | None:
    """Why no LoRA client can be trained on this open_clip model config; None where one can."""
    vision, text = (side if isinstance(side, dict) else {} for side in map(model_cfg.get, ("vision_cfg", "text_cfg")))
    hub = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if hub:
        return f"its text side needs {hub} from the Hugging Face hub; only CLIP's own tokenizer is supported"
    if "timm_model_name" in vision:
        return f"its image side is timm's {vision['timm_model_name']}, which LoRA here cannot adapt"
    if isinstance(vision.get("layers"), list):
        return "its image side is a ResNet, and LoRA needs a visual transformer"
    return None


def check_config(model_cfg: Mapping[str, Any], where: str | Path) -> None:
    """SapError, naming `where`, for a model config that `why_not` knows something against."""
    reason = why_not(model_cfg)
    if reason:
        raise SapError(f"{where}: {reason}. Choose one of open_clip's own ViTs such as ViT-B-32.")


def check_named(model: str | None, tag: str | None) -> None:
    """SapError where backbone.model or backbone.pretrained names a place, which is what kind `checkpoint` is for."""
    for key, name in (("model", model), ("pretrained", tag)):
        if name is None:
            continue
        if name.startswith(HUB):
            raise SapError(
                f"backbone.{key}: {name} names a repository of the Hugging Face hub. Download its "
                "open_clip_config.json and weights into a folder, set backbone.kind: checkpoint and "
                "backbone.checkpoint to that folder."
            )
        if name.startswith(FOLDER) or "/" in name or Path(name).suffix in FILES:
            place, kind = name.removeprefix(FOLDER), {"model": "model", "pretrained": "tag"}[key]
            also = f", with backbone.model: {model or '(its name)'}" if key == "pretrained" else ""
            raise SapError(
                f"backbone.{key}: {name} is a place, not a {kind} of open_clip. Set backbone.kind: checkpoint and "
                f"backbone.checkpoint: {place}{also}."
            )
