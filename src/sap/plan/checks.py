"""What a job would refuse although the config and a few folder listings know it already: refused before anything runs.

One function for each section. Each takes the resolved settings, and raises SapError with the key's path. No torch.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sap.data.sources import PAIRS
from sap.data.sources._files import class_files
from sap.errors import SapError
from sap.plan.backbones import input_of, tower_of
from sap.plan.datasets import counts_of, texts_of
from sap.plan.trainees import NOBODY
from sap.registry import unknown

Settings = Mapping[str, Any]

LONGEST_NAME = 150  # bytes of a domain's name: with what jobs put around it, a file name of at most 255


def check_domains(settings: Settings) -> None:
    """Names of domains become names of folders, files and arguments."""
    domains, targets = settings["data"]["domains"], settings["evaluate"]["targets"] or []
    for target in targets:
        if target not in domains:
            raise SapError(f"evaluate.targets: {unknown('domain', target, domains)}")
    if len(set(targets)) < len(targets):
        raise SapError(f"evaluate.targets must differ from one another, got {targets}.")
    if len(domains) < 2:
        raise SapError(f"data.domains must name at least 2 domains to hold one out, got {domains}.")
    if NOBODY in domains:
        raise SapError(f"data.domains: '{NOBODY}' stands for the fold that holds no domain out. Rename that folder.")
    for name in domains:
        refused = {
            "begins with -, so that commands take it for an option": name.startswith("-"),
            f"has more than {LONGEST_NAME} bytes, and file names are made from it": len(os.fsencode(name))
            > LONGEST_NAME,
        }
        for reason, happens in refused.items():
            if happens:
                raise SapError(f"data.domains: {name!a} {reason}. Rename it.")


def check_classes(settings: Settings) -> None:
    """Names of classes, their texts in prompts, and the templates around them."""
    data, prompts = settings["data"], settings["backbone"]["prompts"]
    for name in data["class_names"]:
        if not isinstance(name, str):
            raise SapError(f"data.class_names: {name!r} is a number in YAML. Write the folder's name in quotes.")
        if name not in data["classes"]:
            raise SapError(f"data.class_names: {unknown('class', name, data['classes'])}")
    texts: dict[str, str] = {}
    for name, text in texts_of(data).items():
        if text in texts:
            raise SapError(
                f"data.class_names: classes must have different texts, but '{texts[text]}' and '{name}' are both "
                f"'{text}' in prompts. Write another text for one of them."
            )
        texts[text] = name
    for number, template in enumerate(prompts):
        if template.count("{}") != 1:
            raise SapError(
                f"backbone.prompts[{number}] must contain {{}} once for the class, got {template!r}, such as "
                "'a photo of a {}.'."
            )


def check_images(settings: Settings) -> None:
    """Splits that leave nothing to train on, and what `data.problems` and the partition refuse by the listing alone."""
    data, partition = settings["data"], settings["partition"]
    split, problems = data["split"], data["problems"]
    if split["val"] + split["test"] >= 1:
        raise SapError(
            f"data.split: val + test must be below 1, got {split['val']} + {split['test']}. Leave a share to train on."
        )
    n_splits = 2 + (split["val"] > 0)
    for domain, counts in counts_of(data).items():
        where = f"{data['root']}/{domain}"
        if not sum(counts.values()):
            raise SapError(f"{where} holds no image of any class. Put images into {where}/<class>/.")
        for name, count in counts.items():
            if count == 0 and problems["missing_class"] == "refuse":
                raise SapError(
                    f"{where} has no image of class '{name}', which other domains have. Add some to {where}/{name}, "
                    "remove the class everywhere, or set data.problems.missing_class: allow."
                )
            if 0 < count < n_splits and problems["thin_class"] == "refuse":
                raise SapError(
                    f"{where}/{name} has {count} image(s), fewer than the {n_splits} splits. Add images, set "
                    "data.split.val: 0, or set data.problems.thin_class: allow."
                )
        # Shares are rounded for each class, so that one image more than the share may be left to train on.
        left = 1 - split["val"] - split["test"]
        most, clients = int(sum(min(n, n * left + 1) for n in counts.values())), partition["clients_per_domain"]
        if clients > 1 and most < clients * partition["min_size"]:
            raise SapError(
                f"partition: domain '{domain}' has at most {most} images to train on, too few for {clients} clients "
                f"with at least {partition['min_size']} each. Lower partition.min_size or "
                "partition.clients_per_domain."
            )


def check_training(settings: Settings) -> None:
    """Of `train` and every recipe: LoRA that does not fit the backbone, and options that cannot be together."""
    for where, train in {"train": settings["train"], **_named_recipes(settings)}.items():
        _check_training(settings, train, where)


def _named_recipes(settings: Settings) -> dict[str, Settings]:
    return {f"recipes.{name}": train for name, train in settings["recipes"].items()}


def _check_training(settings: Settings, train: Settings, where: str) -> None:
    lora, backbone = train["lora"], settings["backbone"]
    if train["early_stop"] is not None and settings["data"]["split"]["val"] == 0:
        raise SapError(f"{where}.early_stop needs validation images, and data.split.val is 0. Raise it or set null.")
    if train["early_stop"] is not None and train["average"] != "none":
        raise SapError(
            f"{where}.early_stop keeps one epoch, and {where}.average: {train['average']} many. Set early_stop to null "
            "or average to none."
        )
    if train["orthogonal"] and lora["factors"] == "B":
        raise SapError(f"{where}.orthogonal acts on A, and {where}.lora.factors: B freezes A. Set orthogonal to 0.")
    if lora["towers"] == "both":
        raise SapError(
            f"{where}.lora.towers: both trains clients that nothing can score, because anchor gradients exist for the "
            "visual tower only. Set it to visual; evidence.towers: true compares the towers."
        )
    if lora["dropout"] and lora["targets"] == ["attention"]:
        raise SapError(f"{where}.lora.dropout acts on MLP layers only, and {where}.lora.targets has none. Set it to 0.")
    if backbone["kind"] == "scratch":
        scratch, size = backbone["scratch"], input_of(settings)["size"]
        if scratch["patch_size"] > size:
            raise SapError(
                f"backbone.scratch.patch_size must be at most the image side {size}, got {scratch['patch_size']}. "
                "Lower it or raise data.digits.size."
            )
        width, head = scratch["width"], scratch["head_width"]
        if head > width or width % (width // head):
            raise SapError(
                f"backbone.scratch.width must be a multiple of head_width {head}, got {width}. Change one of them."
            )
    width, layers = tower_of(settings)
    if width is not None and lora["rank"] > width:
        raise SapError(
            f"{where}.lora.rank must be at most the tower's width {width}, got {lora['rank']}. Choose a smaller rank."
        )
    if layers is not None and lora["first_block"] >= layers:
        raise SapError(
            f"{where}.lora.first_block must be below the tower's {layers} blocks, got {lora['first_block']}. "
            "Choose a smaller one."
        )


def check_anchors(settings: Settings) -> None:
    """More anchors than there are, as far as the source knows without reading them; anchors of a client's domain."""
    data = settings["data"]
    anchors, wanted = settings["anchors"], max(settings["anchors"]["sizes"])
    pools = [PAIRS[anchors["source"]].known(anchors, data)]
    if anchors["classes"]:
        pools.append((len(class_files(anchors["classes"], data["classes"])), anchors["classes"]))
        for domain in data["domains"] if data["root"] else ():
            if os.path.realpath(anchors["classes"]) == os.path.realpath(Path(data["root"], domain)):
                raise SapError(
                    f"anchors.classes: {anchors['classes']} is the domain '{domain}' of this study, whose labels no "
                    "server knows. Set it to other images, or leave the domain out of data.domains."
                )
    for pool in pools:
        if pool and wanted > pool[0]:
            raise SapError(
                f"anchors.sizes asks for {wanted} pairs, and {pool[1]} has {pool[0]}. Lower anchors.sizes or add pairs."
            )
