"""Rows that stay: one per point and judged domain, each with its key, and per-image predictions beside them.

No torch here: a shard with nothing missing ends before torch is imported.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
from sap.plans import FoldPlan, PointPlan

FIELDS = {"predicted": np.int16, "probability": np.float32, "true_probability": np.float32}
TRIGGERED, VALIDATION = " (triggered)", " (validation)"  # after a domain's name: not its plain test images
UPLOAD = ("adapter_config.json", "adapter_model.safetensors")

Name = tuple[str, str]  # (point id, domain)


class RowStore:
    """rows.jsonl and predictions.safetensors of one shard, or of what a running or killed job has of it so far.

    predictions.safetensors holds per domain "{domain}/labels" (n,) int16, "{domain}/predicted" (P, n) int16,
    "{domain}/probability" and "{domain}/true_probability" (P, n) float32: a row's "index" selects one of the P, and its
    "predictions" is their digest. Both files are sorted by point and domain, whatever the order of work was.

    Damaged rows, and rows whose predictions are not the ones that they were written with, are left out. `changed`: the
    files do not hold exactly these rows.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.rows: dict[Name, dict[str, Any]] = {}
        self._arrays: dict[Name, dict[str, np.ndarray]] = {}
        self._labels: dict[str, np.ndarray] = {}
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
            domain, index = row["domain"], row["index"]
            try:
                arrays, labels = (
                    {field: stored[f"{domain}/{field}"][index] for field in FIELDS},
                    stored[f"{domain}/labels"],
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
        """Add or replace a row; rows that were judged on other images of its domain go."""
        domain = row["domain"]
        if domain in self._labels and not np.array_equal(self._labels[domain], labels):
            self.rows = {name: kept for name, kept in self.rows.items() if name[1] != domain}
        name = (row["point"], domain)
        self.rows[name], self._arrays[name], self._labels[domain] = row, arrays, labels
        self.changed = True

    def has(self, point: str, domain: str, key: str) -> bool:
        """True where this row was computed from the same inputs by the same code."""
        row = self.rows.get((point, domain))
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
                self._take(row, other._arrays[name], other._labels[row["domain"]])

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
        names: dict[str, list[Name]] = {}
        for name in sorted(self.rows):
            names.setdefault(name[1], []).append(name)
        for domain, inside in names.items():
            tensors[f"{domain}/labels"] = self._labels[domain]
            for field in FIELDS:
                tensors[f"{domain}/{field}"] = np.stack([self._arrays[name][field] for name in inside])
            for index, name in enumerate(inside):
                predictions = digest_arrays(self._labels[domain], self._arrays[name])
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


def row_domains(point: PointPlan, target: str, domains: Iterable[str]) -> list[str]:
    """What a point of a fold plan is judged on, as the rows name it.

    The held-out domain; on "clients" all domains, as in the fold that holds none out; "triggered" also the held-out
    ones with a backdoor's patch; for a "selection" also the sources' validation images.
    """
    domains = list(domains)
    held_out = [target] if target in domains else domains
    judged = domains if "clients" in point.judged_on else held_out
    if "triggered" in point.judged_on:
        judged = [*judged, *(f"{domain}{TRIGGERED}" for domain in held_out)]
    if "selection" in point.judged_on:
        judged = [*judged, *(f"{domain}{VALIDATION}" for domain in domains if domain != target)]
    return list(judged)


def domain_of(name: str) -> str:
    """The domain whose images a row's `domain` names."""
    return name.removesuffix(TRIGGERED).removesuffix(VALIDATION)


def row_keys(plan: FoldPlan) -> dict[Name, str]:
    """Key of every row that a shard plan asks for: {(point id, domain): key}.

    A key covers what the number depends on: settings, code, backbone, uploads, sample counts, gradients, test images
    (through the checksums in index.csv) and text features, each by the digest in its meta.json.
    """
    clients = {name: _digests(folder, *UPLOAD) for name, folder in plan.clients.items()}
    counts = {name: sample_count(folder) for name, folder in plan.clients.items()}
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
            if read == "clients":
                reads |= {"clients": clients, "seed": plan.seed}
            elif read == "counts":
                reads["counts"] = counts
            else:
                reads[read] = clients[settings["client"]] if read == "client" else whole[read]
        if "saliency" in settings:
            reads["gradients"] = measured["gradients"][settings["saliency"]]
        if "measured" in settings:
            reads["statistics"] = [measured["statistics"][kind] for kind in settings["measured"].values()]
        if "attack" in settings:
            reads |= _attack_digests(plan, settings)
        for domain in row_domains(point, plan.target, plan.domains):
            looks: dict[str, Any] = {"images": images[domain_of(domain)]} | ({} if domain in images else {"on": domain})
            if domain.endswith(TRIGGERED):
                looks["patch_size"] = plan.patch_size
            if domain.endswith(VALIDATION):
                looks["anchors"] = _digests(plan.shown.anchors, "anchors.safetensors")
            keys[point.id, domain] = digest(canonical(reads | looks), 16)
    return keys


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
