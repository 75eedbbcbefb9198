"""Read the config: fill defaults, refuse what is wrong with the key's path, resolve names. No torch."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sap.clip.supported import check_named
from sap.combinations import unshared_factor
from sap.config import validate, with_defaults
from sap.data.sources import SOURCES
from sap.errors import SapError
from sap.io import read_json
from sap.needs import ANCHORS, from_source
from sap.plan import checks
from sap.plan.code import version_of
from sap.plan.datasets import check_required, classes_of, domains_of
from sap.plan.overlays import SHIPPED
from sap.registry import unknown

SCHEMA_PATH = Path(__file__).with_name("config.schema.json")


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of the config, written by `python docs/generate.py` from the code's own declarations."""
    return read_json(SCHEMA_PATH)


def load_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every default filled in and every name checked; a plain JSON value.

    Adds `data.domains` and `data.classes` (folder names in label order), found on disk where the config
    leaves them open. Raises SapError with the key's path, what is allowed and what was given.
    """
    values = dict(config)
    values["points"] = [_listed(block, number) for number, block in enumerate(_blocks(values))]
    validate(values, schema())
    settings = with_defaults(values, schema())
    settings["points"] = _resolved(settings["points"])
    check_required(settings)
    settings["data"]["domains"] = domains_of(settings["data"])
    settings["data"]["classes"] = classes_of(settings["data"])
    checks.check_domains(settings)
    checks.check_classes(settings)
    _check_names(settings)
    checks.check_images(settings)
    checks.check_anchors(settings)
    _check_points(settings)
    return settings


@cache
def shipped_points() -> list[dict[str, Any]]:
    """The resolved blocks of the shipped config.yaml: rows that a study has because nobody named others."""
    blocks = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["points"]
    return _resolved([_listed(block, number) for number, block in enumerate(blocks)])


def _resolved(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Blocks with every default filled in, and with the names of methods, attacks and criteria checked."""
    resolved = [with_defaults(block, schema()["properties"]["points"]["items"]) for block in blocks]
    for number, block in enumerate(resolved):
        block["merge"] = [_named(merge, "merge", "method", f"points[{number}].merge") for merge in block["merge"]]
        block["attack"] = [
            attack if attack == "none" else _named(attack, "attacks", "kind", f"points[{number}].attack")
            for attack in block["attack"]
        ]
        for criterion in block["criterion"]:
            if criterion != "none" and criterion not in schema()["$defs"]["criteria"]:
                known = ["none", *schema()["$defs"]["criteria"]]
                raise SapError(f"points[{number}].criterion: {unknown('criterion', criterion, known)}")
    return resolved


def _blocks(values: Mapping[str, Any]) -> list[Any]:
    blocks = values.get("points", [])
    if not isinstance(blocks, list):
        raise SapError(f"points must be a list of blocks, got {blocks!r} ({type(blocks).__name__}).")
    return blocks


def _listed(block: Any, number: int) -> dict[str, Any]:
    """Sweepable fields may be written as one value; here they become lists."""
    if not isinstance(block, Mapping):
        raise SapError(f"points[{number}] must be a mapping such as {{merge: mean}}, got {block!r}.")
    listed = dict(block)
    for name, field in schema()["properties"]["points"]["items"]["properties"].items():
        if field["type"] == "array" and name in listed and not isinstance(listed[name], list):
            listed[name] = [listed[name]]
    return listed


def _named(given: Any, where: str, key: str, path: str) -> dict[str, Any]:
    """`ties` or {method: ties, density: 0.2} -> the method with all its options, checked against its declaration.

    `where` names the declarations ($defs of the schema): `merge`, or `attacks`, where `key` is `kind`.
    """
    given = {key: given} if isinstance(given, str) else dict(given)
    name = given.pop(key, None)
    known = schema()["$defs"][where]
    if name not in known:
        raise SapError(f"{path}: {unknown({'merge': 'merge method', 'attacks': 'attack'}[where], name, known)}")
    validate(given, known[name]["options"], f"{path} ({name})")
    return {key: name, **with_defaults(given, known[name]["options"])}


def _check_names(settings: Mapping[str, Any]) -> None:
    """Names that one section uses and another defines."""
    duplicates = {seed for seed in settings["seeds"] if settings["seeds"].count(seed) > 1}
    if duplicates:
        raise SapError(f"seeds must differ from one another, got {sorted(duplicates)} more than once.")
    needs = {"pretrained": ("model", "pretrained"), "checkpoint": ("checkpoint",), "scratch": ()}
    backbone = settings["backbone"]
    if backbone["kind"] == "pretrained":
        check_named(backbone["model"], backbone["pretrained"])
    for key in needs[backbone["kind"]]:
        if not backbone[key]:
            raise SapError(
                f"backbone.{key} must be set when backbone.kind is {backbone['kind']}, got {backbone[key]!r}."
            )
    source = settings["data"]["source"]
    if backbone["kind"] == "scratch" and SOURCES[source].corpus is None:
        able = ", ".join(name for name, known in SOURCES.items() if known.corpus)
        raise SapError(
            f"backbone.kind: scratch pretrains on the corpus of data.source, and {source} has none. Set data.source to "
            f"{able}, or another backbone.kind."
        )
    for package in settings["versions"]["invalidate"]:
        version_of(package)
    target = settings["corruption"]["target_class"]
    if target is not None and target not in settings["data"]["classes"]:
        raise SapError(f"corruption.target_class: {unknown('class', target, settings['data']['classes'])}")


def _check_points(settings: Mapping[str, Any]) -> None:
    """What the other sections of the config do not give: anchor sets, images, shared factors, seeds, classes."""
    methods, criteria = schema()["$defs"]["merge"], schema()["$defs"]["criteria"]
    for number, block in enumerate(settings["points"]):
        where = f"points[{number}]"
        chosen = [criterion for criterion in block["criterion"] if criterion != "none"]
        named = [criteria[name] for name in chosen] + [methods[merge["method"]] for merge in block["merge"]]
        reads_anchors = any(from_source(ANCHORS, declared["needs"]) for declared in named)
        sizes = settings["anchors"]["sizes"]
        for size in block["anchor_size"]:
            if reads_anchors and size not in sizes:
                raise SapError(f"{where}.anchor_size must be one of anchors.sizes {sizes}, got {size}. Add it there.")
        if reads_anchors and "contrastive" in block["alignment"] and min(sizes) < 2:
            raise SapError(
                f"{where}.alignment: contrastive compares anchors, so anchors.sizes must be above 1, got {sizes}."
            )
        if "select" in block["views"] and settings["data"]["split"]["val"] == 0:
            raise SapError(
                f"{where}.views: select is judged on validation images, and data.split.val is 0. Raise it, or leave "
                "out the view."
            )
        _check_attacks(where, block, settings)
        for merge in block["merge"]:
            problem = unshared_factor(merge, settings["train"]["lora"])
            if problem:
                raise SapError(f"{where}: {problem}")


def _check_attacks(where: str, block: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Attacks that no fold could run."""
    if block["seeds"] is not None and not set(block["seeds"]) & set(settings["seeds"]):
        raise SapError(f"{where}.seeds must name at least one of seeds {settings['seeds']}, got {block['seeds']}.")
    if block["attack"] == ["none"]:
        return
    if "attack" not in block["views"]:
        raise SapError(f"{where}: points under an attack are shown in the view attack, got {block['views']}.")
    for attack in block["attack"]:
        target = attack != "none" and attack.get("target_class")
        if target and target not in settings["data"]["classes"]:
            raise SapError(f"{where}.attack.target_class: {unknown('class', target, settings['data']['classes'])}")
