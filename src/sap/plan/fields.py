"""Exactly the settings that each stage reads: what its id is made from, and what its job is given."""

from collections.abc import Mapping
from typing import Any

Settings = Mapping[str, Any]


def data_fields(settings: Settings, image_input: Settings) -> dict[str, Any]:
    """prepare_domain: a domain's store does not depend on which other domains are in use, only on the class list."""
    digits = settings["data"]["source"] == "digits"
    ignored = {"domains", "classes", "class_names", *(("root", "problems") if digits else ("digits",))}
    data = {key: value for key, value in settings["data"].items() if key not in ignored}
    if digits or data["exif"] == "ignore":  # what was prepared before the option existed keeps its id
        del data["exif"]
    if digits:
        data["digits"] = digits_fields(settings, "per_class")
    return {"data": data, "input": image_input, "classes": settings["data"]["classes"]}


def digits_fields(settings: Settings, pool: str) -> dict[str, Any]:
    """One pool of the embedded set: its size, and what all pools share. The pools are drawn independently."""
    return {key: settings["data"]["digits"][key] for key in (pool, "size", "seed")}


def backbone_fields(settings: Settings, image_input: Settings) -> dict[str, Any]:
    """prepare_backbone: prompts are no part of it; the digits corpus is, where the backbone is pretrained on it."""
    backbone = {key: value for key, value in settings["backbone"].items() if key != "prompts"}
    backbone |= {"interpolation": image_input["interpolation"], "resize_mode": image_input["mode"]}
    scratch = backbone["kind"] == "scratch"
    if not scratch:
        del backbone["scratch"]
    return {"backbone": backbone, "digits": digits_fields(settings, "corpus") if scratch else None}


def classes_fields(settings: Settings) -> dict[str, Any]:
    """embed_classes: the texts of the classes and the templates around them."""
    names = settings["data"]["class_names"]
    texts = [names.get(name, name.replace("_", " ")) for name in settings["data"]["classes"]]
    return {"classes": texts, "prompts": settings["backbone"]["prompts"]}


def anchors_fields(settings: Settings, image_input: Settings, draw: int) -> dict[str, Any]:
    """draw_anchors: one draw of the config's anchors."""
    anchors = settings["anchors"]
    digits = digits_fields(settings, "anchors") if anchors["source"] == "digits" else None
    return {"anchors": anchors, "draw": draw, "input": image_input, "digits": digits}


def _without_later_options(train: Settings) -> Settings:
    """At these values a training is what it was before the options existed, and keeps its id."""
    later = {"first_block": 0, "towers": "visual"}
    lora = {key: value for key, value in train["lora"].items() if later.get(key) != value}
    return {**train, "lora": lora}


def trainee_fields(
    settings: Settings,
    parts: tuple[tuple[str, int | None], ...],
    corruption: Settings | None = None,
    towers: str | None = None,
) -> dict[str, Any]:
    """train_client: the partition counts where a domain is shared. `towers` replaces train.lora.towers."""
    train = settings["train"]
    if towers:
        train = {**train, "lora": {**train["lora"], "towers": towers}}
    return {
        "train": _without_later_options(train),
        "parts": [{"domain": domain, "index": index} for domain, index in parts],
        "partition": settings["partition"] if any(index is not None for _, index in parts) else None,
        "corruption": corruption,
    }


def corruption_fields(settings: Settings, name: str) -> dict[str, Any] | None:
    """The config's corruption where it hits this client."""
    corruption = settings["corruption"]
    if corruption["kind"] == "none" or name not in corruption["clients"]:
        return None
    unread = {"clients"} if corruption["kind"] == "backdoor" else {"clients", "patch_size"}
    return {key: value for key, value in corruption.items() if key not in unread}
