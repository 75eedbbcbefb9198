"""Which images a probe sees, drawn evenly over the classes, and the files that a fold plan names."""

from pathlib import Path

import numpy as np

from sap.clip.checkpoint import WEIGHTS_FILE
from sap.data.store import Domain
from sap.evaluate.runner import DomainImages
from sap.plans import FoldPlan, ModelPlan

ADAPTER_FILE = "adapter_model.safetensors"


def evenly(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Positions (int64, ascending) of at most `most` of the labels (N,), as many of each class as it goes.

    A class that has fewer gives all it has; more with the same seed are a superset.
    """
    rng = np.random.default_rng(seed)
    ranks = _ranks(labels, rng)
    return np.sort(np.lexsort((rng.permutation(len(labels)), ranks))[:most])


def alike(labels: np.ndarray, others: np.ndarray, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions in two label arrays (N,), (M,): equally many of every class on both sides, at most `most` on each."""
    classes = max(labels.max(initial=0), others.max(initial=0)) + 1
    shared = np.minimum(*(np.bincount(side, minlength=classes) for side in (labels, others)))
    pool = np.repeat(np.arange(classes), shared)
    wanted = np.bincount(pool[evenly(pool, most, seed)], minlength=classes)
    rng = np.random.default_rng(seed)
    first, second = (np.flatnonzero(_ranks(side, rng) < wanted[side]) for side in (labels, others))
    return first, second


def _ranks(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Place of every image in a random order of its class, (N,), from 0."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return ranks


def some_images(store: Domain, split: str, most: int, seed: int) -> DomainImages:
    """At most `most` images of one split of a domain, drawn by `evenly`."""
    rows = store.rows(split)
    rows = rows[evenly(store.labels[rows], most, seed)]
    return DomainImages(store.images, rows, store.labels[rows])


def fold_files(plan: FoldPlan) -> dict[str, Path]:
    """Name -> file of everything that a fold plan's points are computed from, for meta.json."""
    files = model_files(plan)
    files |= {f"images {name}": Path(folder) / "index.csv" for name, folder in plan.domains.items()}
    files |= {f"adapter {name}": Path(folder) / ADAPTER_FILE for name, folder in plan.clients.items()}
    for stage in ("gradients", "statistics"):
        for kind, folders in getattr(plan, stage).items():
            files |= {f"{kind} {name}": Path(folder) / f"{stage}.safetensors" for name, folder in folders.items()}
    files |= {f"anchors {kind}": Path(folder) / "anchors.safetensors" for kind, folder in plan.anchors.items()}
    return files


def model_files(plan: ModelPlan) -> dict[str, Path]:
    """Name -> file of the frozen model and the class texts of a plan."""
    return {
        "backbone": Path(plan.backbone) / WEIGHTS_FILE,
        "classes": Path(plan.classes) / "text_features.safetensors",
    }
