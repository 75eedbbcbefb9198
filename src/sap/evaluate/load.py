"""From a shard plan to loaded things: the judge, the test images, the trained updates and the merge function."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sap.clip.backbone import load_backbone
from sap.clip.tower import first_adapted
from sap.data.store import open_store
from sap.errors import SapError
from sap.evaluate.composer import load_composer
from sap.evaluate.runner import DomainImages, Judge
from sap.io import load_tensors
from sap.update import Update, check_update, load_adapter


def load_fold(
    plan: Mapping[str, Any], device: str, batch_size: int, cache_activations: bool = True
) -> tuple[Judge, dict[str, DomainImages], Callable[[Mapping[str, Any]], Update], dict[str, Update]]:
    """(judge, test images by domain, merge function, trained updates by name) of one shard plan.

    Every upload is checked against the backbone's layers, and every merge method's validity rule against the number of
    clients, before anything is computed.
    """
    backbone = load_backbone(plan["backbone"], device)
    classes = load_tensors(Path(plan["classes"]) / "text_features.safetensors")
    features = classes["features"].to(device)
    tests = {domain: _test_images(domain, folder) for domain, folder in plan["domains"].items()}
    shapes = {name: tuple(weight.shape) for name, weight in backbone.model.named_parameters()}
    folders = plan["clients"] | {kind: plan[kind] for kind in ("pooled", "oracle") if plan[kind]}
    trained = {name: _adapter(folder, shapes) for name, folder in folders.items()}
    layers = {layer for update in trained.values() for layer in update}
    first_block = first_adapted(backbone.model, layers) if cache_activations else None
    judge = Judge(backbone, features, float(classes["logit_scale"]), batch_size, plan["precision"], first_block)
    composer = load_composer(plan, trained, backbone)
    for point in plan["points"]:
        if point["settings"]["kind"] == "merge":
            composer.check(point["settings"])
    return judge, tests, composer.merge, trained


def _adapter(folder: str, shapes: Mapping[str, tuple[int, ...]]) -> Update:
    update = load_adapter(folder)
    try:
        check_update(update, shapes)
    except SapError as error:
        raise SapError(f"{folder}: {error}") from error
    return update


def _test_images(domain: str, folder: str) -> DomainImages:
    store = open_store(folder)
    rows = store.rows("test")
    if not len(rows):
        raise SapError(f"{folder}: domain {domain} has no test images. Raise data.split.test.")
    return DomainImages(store.images, rows, store.labels[rows])
