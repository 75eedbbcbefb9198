"""From a shard plan to loaded things: the judge, the test images, the trained updates and the merge function."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sap.attack.backdoor import stamp
from sap.clip.backbone import Backbone, load_backbone
from sap.clip.tower import first_adapted
from sap.compose import CACHE_BYTES, Composer
from sap.data.store import open_store
from sap.errors import SapError
from sap.evaluate.attacked import Scenarios
from sap.evaluate.composer import composers, load_composer, statistics_of
from sap.evaluate.rows import HELD_OUT, TRIGGERED, VALIDATION, Judged, judged_on
from sap.evaluate.runner import DomainImages, Judge
from sap.io import load_tensors, read_meta
from sap.plans import FoldPlan, ModelPlan
from sap.saliency.anchors import AnchorLoss
from sap.saliency.gradients import check_visual
from sap.serve._api import Fold, own_merge
from sap.update import Update, check_update, load_adapter


def load_fold(
    plan: FoldPlan, device: str, batch_size: int = 256, cache_activations: bool = True
) -> tuple[Judge, dict[Judged, DomainImages], Fold]:
    """(judge, what the rows are judged on, the clients and what can be asked of them) of one shard plan.

    Every upload is checked against the backbone's layers before anything is computed.
    """
    asked = {judged for point in plan.points for judged in judged_on(point, plan.target, plan.domains)}
    tests = {judged: domain_images(judged, plan.domains[judged.domain], plan.patch_size) for judged in sorted(asked)}
    for judged in tests:
        if judged.images == HELD_OUT:  # the same images: what lies below the LoRA is computed once for both
            tests[judged] = tests.get(Judged(judged.domain, VALIDATION), tests[judged])
    folders = plan.clients | plan.whole | _recipes(plan)
    judge, trained = load_judge(plan, folders, device, batch_size, cache_activations)
    classes = tuple(read_meta(plan.classes)["settings"]["classes"])
    return judge, tests, _fold(plan, trained, judge.backbone, classes)


def _fold(
    plan: FoldPlan,
    trained: Mapping[str, Update],
    backbone: Backbone,
    classes: tuple[str, ...],
    cache_bytes: int = CACHE_BYTES,
) -> Fold:
    """The clients of a plan, and what can be asked of them; `classes` are their words, in label order.

    All folds without a domain together keep as many merges as the whole one, `cache_bytes`.
    """
    shapes = _shapes(backbone)

    @cache
    def public() -> AnchorLoss:
        size = plan.shown.size
        found = load_tensors(Path(plan.shown.anchors) / "anchors.safetensors")
        return AnchorLoss(backbone, backbone.normalise(found["images"][:size]), found["tokens"][:size])

    @cache
    def without(domain: str) -> Fold:
        left = {name: plan.clients[name] for name in plan.without(domain)}
        recipes = {recipe: {name: folders[name] for name in left} for recipe, folders in plan.recipes.items()}
        share = cache_bytes // len(set(plan.domain_of.values()))
        return _fold(replace(plan, clients=left, recipes=recipes), trained, backbone, classes, share)

    @cache
    def composer(recipe: str) -> Composer:
        own = {name: trained[f"{recipe}/{name}"] for name in plan.clients}
        return load_composer(plan.trained_by({"recipe": recipe}), own, backbone)

    compose = composers(plan, trained, backbone, cache_bytes)
    found = Scenarios(plan, trained, compose, lambda folder: _adapter(folder, shapes), public)

    def merge(settings: Mapping[str, Any]) -> Update:
        merged = own_merge(settings)
        return composer(settings["recipe"]).merge(merged) if "recipe" in settings else found.merge(merged)

    asked_of = (merge, found.client, found.facts, found.anchor_loss, statistics_of(plan))
    return Fold(tuple(plan.clients), trained, *asked_of, classes, without)


def _recipes(plan: FoldPlan) -> dict[str, str]:
    """Folders of the clients of every recipe, as recipe/client; no name of a recipe or of a domain holds a slash."""
    return {f"{recipe}/{name}": folder for recipe, folders in plan.recipes.items() for name, folder in folders.items()}


def load_judge(
    plan: ModelPlan, folders: Mapping[str, str], device: str, batch_size: int = 256, cache_activations: bool = True
) -> tuple[Judge, dict[str, Update]]:
    """(judge, updates by name): a plan's backbone, classes and precision, and the uploads in `folders`, checked."""
    backbone = load_backbone(plan.backbone, device)
    classes = load_tensors(Path(plan.classes) / "text_features.safetensors")
    features = classes["features"].to(device)
    shapes = _shapes(backbone)
    trained = {name: _adapter(folder, shapes) for name, folder in folders.items()}
    layers = {layer for update in trained.values() for layer in update}
    first_block = first_adapted(backbone.model, layers) if cache_activations else None
    judge = Judge(backbone, features, float(classes["logit_scale"]), batch_size, plan.precision, first_block)
    return judge, trained


def _shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in backbone.model.named_parameters()}


def _adapter(folder: str, shapes: Mapping[str, tuple[int, ...]]) -> Update:
    update = load_adapter(folder)
    try:
        check_visual(update)  # class texts are encoded once, by the frozen text tower
        check_update(update, shapes)
    except SapError as error:
        raise SapError(f"{folder}: {error}") from error
    return update


def domain_images(judged: Judged, folder: str, patch_size: float = 0.0) -> DomainImages:
    """The images of one prepared domain that a row is about.

    `patch_size` is the patch's side, a share of the image's. SapError where there are no images.
    """
    store = open_store(folder)
    split = "val" if judged.images in (VALIDATION, HELD_OUT) else "test"
    rows = store.rows(split)
    if not len(rows):
        raise SapError(f"{folder}: domain {judged.domain} has no {split} images. Raise data.split.{split}.")
    labels, name = store.labels[rows], judged.domain
    if judged.images == TRIGGERED:
        return DomainImages(stamp(store.images[rows], patch_size), np.arange(len(rows)), labels, name)
    return DomainImages(store.images, rows, labels, name)
