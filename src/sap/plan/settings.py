"""Read the config: fill defaults, refuse what is wrong with the key's path, resolve names. No torch."""

from collections.abc import Mapping
from typing import Any

from sap.clip.supported import check_named
from sap.config import validate, with_defaults
from sap.data.sources import SOURCES
from sap.errors import SapError
from sap.plan import checks
from sap.plan.blocks import check_blocks, resolved_blocks
from sap.plan.code import version_of
from sap.plan.datasets import check_required, classes_of, domains_of
from sap.plan.options import VIEWS
from sap.plan.recipes import resolved_recipes
from sap.plan.schema import schema
from sap.registry import unknown


def load_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every default filled in and every name checked; a plain JSON value.

    Adds `data.domains` and `data.classes` (folder names in label order), found on disk where the config
    leaves them open. Raises SapError with the key's path, what is allowed and what was given.
    """
    values = dict(config)
    points = values.pop("points", [])
    validate(values, schema())
    settings = with_defaults(values, schema()) | {"points": resolved_blocks(points)}
    settings["recipes"] = resolved_recipes(settings["recipes"], settings["train"])
    check_required(settings)
    settings["data"]["domains"] = domains_of(settings["data"])
    settings["data"]["classes"] = classes_of(settings["data"])
    checks.check_domains(settings)
    checks.check_classes(settings)
    _check_names(settings)
    checks.check_images(settings)
    checks.check_anchors(settings)
    check_blocks(settings)
    return settings


def _check_names(settings: Mapping[str, Any]) -> None:
    """Names that one section uses and another defines."""
    duplicates = {seed for seed in settings["seeds"] if settings["seeds"].count(seed) > 1}
    if duplicates:
        raise SapError(f"seeds must differ from one another, got {sorted(duplicates)} more than once.")
    for view in settings["evaluate"]["candidates"]:
        if view not in VIEWS:
            raise SapError(f"evaluate.candidates: {unknown('view', view, list(VIEWS))}")
    odd = [name for name in settings["beds"] if name == settings["experiment"] or settings["beds"].count(name) > 1]
    if odd:
        raise SapError(f"beds must name other experiments, each once, got {settings['beds']}. Leave out {odd[0]}.")
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
