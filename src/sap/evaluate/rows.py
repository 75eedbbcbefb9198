"""Rows that stay: one per point and judged domain, each with its key, and per-image predictions beside them.

No torch here: a shard with nothing missing ends before torch is imported.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sap.errors import SapError, damaged
from sap.evaluate.counts import sample_count
from sap.io import (
    canonical,
    digest,
    digests_of,
    load_tensors,
    save_tensors,
    sealed,
    sealed_rows,
    write_jsonl,
)
from sap.plans import FoldPlan, PointPlan, parts

FIELDS = {"predicted": np.int16, "probability": np.float32, "true_probability": np.float32}
# Images of a domain: plain, with a patch, of that split, and of that split for the merge of all others' clients.
TEST, TRIGGERED, VALIDATION, HELD_OUT = "test", "triggered", "validation", "held_out"
UPLOAD = ("adapter_config.json", "adapter_model.safetensors")

Name = tuple[str, str, str]  # point id, domain, which of its images


class Judged(NamedTuple):
    """What a row is about: which images of which domain."""

    domain: str
    images: str = TEST


def name_of(row: Mapping[str, Any]) -> Name:
    """What tells a row from the others of its fold."""
    return row["point"], row["domain"], row["images"]


class RowStore:
    """rows.jsonl and predictions.safetensors of one shard, or of what a running or killed job has of it so far.

    predictions.safetensors holds per domain and images "{domain}/{images}/labels" (n,) int16, ".../predicted" (P, n)
    int16, ".../probability" and ".../true_probability" (P, n) float32: a row's "index" selects one of the P, and its
    "predictions" is their digest. Both files are sorted by point, domain and images, whatever the order of work was.

    Damaged rows, and rows whose predictions are not the ones that they were written with, are left out. `changed`: the
    files do not hold exactly these rows.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.rows: dict[Name, dict[str, Any]] = {}
        self._arrays: dict[Name, dict[str, np.ndarray]] = {}
        self._labels: dict[Judged, np.ndarray] = {}
        self.changed = True
        if self.rows_path.exists() and self.predictions_path.exists():
            self._load()

    @property
    def rows_path(self) -> Path:
        return self.folder / "rows.jsonl"

    @property
    def predictions_path(self) -> Path:
        return self.folder / "predictions.safetensors"

    def _load(self) -> None:
        try:
            stored = load_tensors(self.predictions_path, framework="np")
        except SapError as error:
            print(f"computing every row again: {error}", flush=True)
            return
        rows, lost = sealed_rows(self.rows_path)
        for row in rows:
            place, index = "/".join(name_of(row)[1:]), row["index"]
            try:
                arrays, labels = (
                    {field: stored[f"{place}/{field}"][index] for field in FIELDS},
                    stored[f"{place}/labels"],
                )
            except (KeyError, IndexError):  # predictions of another writing
                continue
            if row["predictions"] == digest_arrays(labels, arrays):
                self._take(row, arrays, labels)
        lost += len(rows) - len(self.rows)
        self.changed = lost > 0
        if lost:
            print(f"{self.rows_path}: {lost} rows are damaged and do not count", flush=True)

    def _take(self, row: dict[str, Any], arrays: dict[str, np.ndarray], labels: np.ndarray) -> None:
        """Add or replace a row; rows that were judged on other images of that name go."""
        name, judged = name_of(row), Judged(row["domain"], row["images"])
        if judged in self._labels and not np.array_equal(self._labels[judged], labels):
            self.rows = {other: kept for other, kept in self.rows.items() if other[1:] != judged}
        self.rows[name], self._arrays[name], self._labels[judged] = row, arrays, labels
        self.changed = True

    def has(self, name: Name, key: str) -> bool:
        """True where this row was computed from the same inputs by the same code."""
        row = self.rows.get(name)
        return row is not None and row["key"] == key

    def add(self, row: dict[str, Any], probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Take a row with its (n, C) float32 class probabilities and (n,) true labels; replaces an older one."""
        images = np.arange(len(labels))
        predicted = probabilities.argmax(1)
        correct = int((predicted == labels).sum())
        values = (predicted, probabilities[images, predicted], probabilities[images, labels])
        arrays = {field: array.astype(kind) for (field, kind), array in zip(FIELDS.items(), values, strict=True)}
        row = row | {"n": len(labels), "correct": correct, "accuracy": correct / len(labels)}
        self._take(row, arrays, labels.astype(np.int16))

    def adopt(self, other: "RowStore", keys: Mapping[Name, str]) -> None:
        """Take the rows of `other` that are missing here, or whose key is today's where the one here is of old."""
        for name, row in other.rows.items():
            if name not in self.rows or (row["key"] == keys.get(name) != self.rows[name]["key"]):
                self._take(row, other._arrays[name], other._labels[Judged(*name[1:])])

    def drop(self, names: Iterable[Name]) -> None:
        """Take rows out: of a row that failed, the one that older code or inputs gave is no answer."""
        for name in names:
            if self.rows.pop(name, None):
                self.changed = True

    def save(self) -> None:
        """Write both files atomically, predictions first, unless they are there.

        Equal rows give equal bytes, up to their "seconds" and the digest over them.
        """
        if not self.changed:
            return
        tensors: dict[str, np.ndarray] = {}
        names: dict[Judged, list[Name]] = {}
        for name in sorted(self.rows):
            names.setdefault(Judged(*name[1:]), []).append(name)
        for judged, inside in names.items():
            place = "/".join(judged)
            tensors[f"{place}/labels"] = self._labels[judged]
            for field in FIELDS:
                tensors[f"{place}/{field}"] = np.stack([self._arrays[name][field] for name in inside])
            for index, name in enumerate(inside):
                predictions = digest_arrays(self._labels[judged], self._arrays[name])
                self.rows[name] = sealed(self.rows[name] | {"index": index, "predictions": predictions})
        save_tensors(self.predictions_path, tensors)
        write_jsonl(self.rows_path, [self.rows[name] for name in sorted(self.rows)])
        self.changed = False

    def touch(self) -> None:
        """Nothing was missing: say so in the modification times, which is what Snakemake compares."""
        for path in (self.predictions_path, self.rows_path):
            os.utime(path)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def digest_arrays(labels: np.ndarray, arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256(labels.tobytes())
    for field in FIELDS:
        found.update(arrays[field].tobytes())
    return found.hexdigest()[:16]


def judged_on(point: PointPlan, target: str, domains: Iterable[str]) -> list[Judged]:
    """What a point of a fold plan is judged on.

    The held-out domain; on "clients" all domains, as in the fold that holds none out; "triggered" also the held-out
    ones with a backdoor's patch; for a "selection" also the sources' validation images; "held_out" those once more,
    each domain's by what is merged without its own clients.
    """
    domains = list(domains)
    held_out = [target] if target in domains else domains
    judged = [Judged(domain) for domain in (domains if "clients" in point.judged_on else held_out)]
    if "triggered" in point.judged_on:
        judged += [Judged(domain, TRIGGERED) for domain in held_out]
    for word, images in (("selection", VALIDATION), ("held_out", HELD_OUT)):
        if word in point.judged_on:
            judged += [Judged(domain, images) for domain in domains if domain != target]
    return judged


def row_keys(plan: FoldPlan) -> dict[Name, str]:
    """Key of every row that a shard plan asks for.

    A key covers what the number depends on: settings, code, backbone, uploads, sample counts, gradients, test images
    (through the checksums in index.csv) and text features, each by the digest in its meta.json.
    """
    clients, counts = _uploads(plan.clients)
    recipes = {recipe: _uploads(folders) for recipe, folders in plan.recipes.items()}
    whole = {kind: _digests(folder, *UPLOAD) for kind, folder in plan.whole.items()}
    measured = {
        stage: {
            kind: {name: _digests(folder, f"{stage}.safetensors") for name, folder in folders.items()}
            for kind, folders in getattr(plan, stage).items()
        }
        for stage in ("gradients", "statistics")
    }
    features = _digests(plan.classes, "text_features.safetensors")
    backbone = _digests(plan.backbone, "open_clip_config.json", "open_clip_model.safetensors")
    images = {domain: _digests(folder, "index.csv") for domain, folder in plan.domains.items()}
    keys = {}
    for point in plan.points:
        settings = point.settings
        reads: dict[str, Any] = {"settings": settings, "code": point.code}
        reads |= {"features": features, "backbone": backbone}
        for read in point.reads:
            if read in ("merge", "clients"):
                reads["seed"] = plan.seed
                if any("recipe" not in part for part in parts(settings)):
                    reads |= {"clients": clients} | ({"counts": counts} if read == "merge" else {})
            else:
                reads[read] = clients[settings["client"]] if read == "client" else whole[read]
        for part in parts(settings):
            if "recipe" in part:
                reads.setdefault("recipes", []).append(recipes[part["recipe"]])
            if "saliency" in part:
                reads.setdefault("gradients", []).append(measured["gradients"][part["saliency"]])
            for kind in part.get("measured", {}).values():
                reads.setdefault("statistics", []).append(measured["statistics"][kind])
        if "attack" in settings:
            reads |= _attack_digests(plan, settings)
        for domain, looks in judged_on(point, plan.target, plan.domains):
            seen: dict[str, Any] = {"images": images[domain], "of": looks}
            if looks == TRIGGERED:
                seen["patch_size"] = plan.patch_size
            if looks == VALIDATION:
                seen["anchors"] = _digests(plan.shown.anchors, "anchors.safetensors")
            if looks == HELD_OUT:
                seen["merged"] = plan.without(domain)
            keys[point.id, domain, looks] = digest(canonical(reads | seen), 16)
    return keys


def _uploads(folders: Mapping[str, str]) -> tuple[dict[str, list[str]], dict[str, int]]:
    """(digests, sample counts) of the uploads in these folders, by client."""
    digests = {name: _digests(folder, *UPLOAD) for name, folder in folders.items()}
    return digests, {name: sample_count(folder) for name, folder in folders.items()}


def _attack_digests(plan: FoldPlan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The uploads that the attackers trained wrongly, or the clients and anchors that they start from."""
    attack = canonical(settings["attack"])
    folders = [folder for name in settings["attackers"] if (folder := plan.poisoned[name].get(attack))]
    reads: dict[str, Any] = {"anchors": _digests(plan.shown.anchors, "anchors.safetensors")}
    if len(folders) == len(settings["attackers"]):
        return reads | {"poisoned": [_digests(folder, *UPLOAD) for folder in folders]}
    return reads | {"clients": {name: _digests(folder, *UPLOAD) for name, folder in plan.clients.items()}}


def _digests(folder: str, *names: str) -> list[str]:
    files = digests_of(folder)
    if not files.keys() >= set(names):
        raise damaged(Path(folder) / "meta.json", f"it has no digest of {', '.join(names)}")
    return [files[name] for name in names]
