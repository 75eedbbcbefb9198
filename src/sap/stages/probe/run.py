"""What the features carry under a point's update: the domain of an image (its style), and its class."""

from typing import Any

import numpy as np

from sap.data.store import open_store
from sap.errors import SapError
from sap.evaluate.composer import load_composer
from sap.evaluate.load import load_judge
from sap.evaluate.runner import DomainImages, Judge
from sap.failures import sentence_of
from sap.io import seed_of
from sap.probe.inputs import some_images
from sap.probe.linear import linear_probe
from sap.progress import bar
from sap.stages.probe.plan import ProbePlan
from sap.update import Update

Row = dict[str, Any]
COLUMNS = ["seed", "point", "domain_accuracy", "class_accuracy", "n", "n_train", "norm"]


def probe(plan: ProbePlan, device: str) -> tuple[dict[str, np.ndarray], list[Row], list[dict[str, Any]]]:
    """(arrays, rows) of a fold plan's P points that could be probed, in its order, and the failed ones.

    Can a linear probe read domain and class from the features?

    Both probes are trained on the training images of all domains and judged on their n test images, equally many of
    each domain, at most `plan.images` per domain and split, the same for every point and seed.
    "domain" and "class" (P, n) uint8 correctness; "domains" (n,) int16 in the order of the plan, "labels" (n,) int16.
    """
    judge, trained = load_judge(plan, plan.clients, device)
    composer = load_composer(plan, trained, judge.backbone)
    sides = {split: _balanced(plan, split) for split in ("train", "test")}
    which = {
        split: np.repeat(np.arange(len(images)), [len(domain.labels) for domain in images])
        for split, images in sides.items()
    }
    labels = {split: np.concatenate([domain.labels for domain in images]) for split, images in sides.items()}
    found: dict[str, list[np.ndarray]] = {"domain": [], "class": []}
    rows, failed = [], []
    for point in bar(plan.points, desc="points", unit="point", mininterval=2):
        row = {"seed": plan.seed, "point": point.id}
        try:
            update = None if point.settings["kind"] == "zero_shot" else composer.merge(point.settings)
            features = {split: _features(judge, images, update) for split, images in sides.items()}
            correct = {
                name: linear_probe(
                    features["train"], truth["train"], features["test"], truth["test"], f"{name} probe of {point.id}"
                )
                for name, truth in (("domain", which), ("class", labels))
            }
        except Exception as error:
            failed.append({"stage": "probe", **row, "error": sentence_of(error)})
            continue
        for name, right in correct.items():
            found[name].append(right)
            row[f"{name}_accuracy"] = float(right.mean())
        norm = 0.0 if update is None else update.norm()
        rows.append(row | {"n": len(labels["test"]), "n_train": len(labels["train"]), "norm": norm})
    arrays = {name: np.array(right, np.uint8).reshape(len(rows), len(labels["test"])) for name, right in found.items()}
    truths = {"domains": which["test"].astype(np.int16), "labels": labels["test"].astype(np.int16)}
    return arrays | truths, rows, failed


def _balanced(plan: ProbePlan, split: str) -> list[DomainImages]:
    """Equally many images of each domain, drawn without the plan's seed: seeds are then compared on the same images."""
    stores = {name: open_store(folder) for name, folder in plan.domains.items()}
    available = {name: len(store.rows(split)) for name, store in stores.items()}
    fewest = min(available, key=available.__getitem__)
    if not available[fewest]:
        raise SapError(f"{plan.domains[fewest]}: domain {fewest} has no {split} images to probe. Change data.split.")
    most = min(plan.images, available[fewest])
    return [some_images(store, split, most, seed_of("probe", name, split)) for name, store in stores.items()]


def _features(judge: Judge, images: list[DomainImages], update: Update | None) -> np.ndarray:
    return np.concatenate([judge.image_features(domain, update) for domain in images])
