"""What one trainee may see: its share of one or more prepared domains, with its own (perhaps corrupted) labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sap.attack.backdoor import stamp
from sap.attack.labels import corrupt_labels, selected
from sap.config import parse
from sap.data.options import CorruptionOptions, PartitionOptions
from sap.data.partition import client_rows
from sap.data.store import Domain, Images, open_store
from sap.errors import SapError
from sap.io import read_meta, seed_of
from sap.plans import SharePlan
from sap.registry import unknown


@dataclass(frozen=True)
class Examples:
    """N labelled images that may lie in several mapped arrays.

    `sources`: arrays (·,H,W,3) uint8; image i is `sources[source[i]][row[i]]` and has `labels[i]`; all three index
    arrays are (N,) int64. Where `stamped` (N,) bool is set, an image carries the backdoor's patch of `patch_size`.
    """

    sources: tuple[np.ndarray | Images, ...]
    source: np.ndarray
    row: np.ndarray
    labels: np.ndarray
    stamped: np.ndarray | None = None
    patch_size: float = 0.2

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, which: np.ndarray) -> np.ndarray:
        """The images at positions `which` (B,), in that order: (B,H,W,3) uint8, read from the map now."""
        batch = np.empty((len(which), *self.sources[0].shape[1:]), np.uint8)
        for number, array in enumerate(self.sources):
            here = self.source[which] == number
            batch[here] = array[self.row[which][here]]
        if self.stamped is not None:
            here = self.stamped[which]
            batch[here] = stamp(batch[here], self.patch_size)
        return batch


class Holding(NamedTuple):
    """The images of one trainee, and the true labels (N,) int64 behind the training ones."""

    train: Examples
    val: Examples
    true_labels: np.ndarray
    n_classes: int

    def private_facts(self) -> dict[str, Any]:
        """What the client's own record keeps of its labels: nothing of it is part of the upload."""
        return {
            "class_counts": np.bincount(self.true_labels, minlength=self.n_classes).tolist(),
            "changed_labels": int((self.true_labels != self.train.labels).sum()),
            "val_count": len(self.val),
        }


def open_examples(share: SharePlan) -> Holding:
    """Open the prepared domains of a plan and take the trainee's share; see `examples_of`. Raises SapError."""
    partition = parse(PartitionOptions, share.partition, "partition") if share.partition else None
    corruption = parse(CorruptionOptions, share.corruption, "corruption") if share.corruption else None
    classes = read_meta(share.domains[0])["settings"]["classes"]
    domains = [open_store(folder) for folder in share.domains]
    return examples_of(domains, share.parts, partition, corruption, classes, share.trainee)


def examples_of(
    domains: Sequence[Domain],
    parts: Sequence[Mapping[str, Any]],
    partition: PartitionOptions | None,
    corruption: CorruptionOptions | None,
    classes: Sequence[str],
    trainee: str,
) -> Holding:
    """What a trainee holds; `parts[i]` says which share of `domains[i]`.

    `index` null is the whole domain. Otherwise its training images are dealt out by `client_rows`, and its validation
    images follow: each class's are cut in the proportions of that class's training images, so no client validates on
    another one's data. Corruption changes the training labels, and a backdoor stamps the training images.
    `classes` are the names in label order.
    """
    sizes = {domain.name: domain.images.shape[1:] for domain in domains}
    if len(set(sizes.values())) > 1:
        raise SapError(f"train_client: domains have different image sizes {sizes}. Prepare them for one backbone.")
    rows: dict[str, list[np.ndarray]] = {"train": [], "val": []}
    for domain, part in zip(domains, parts, strict=True):
        if domain.name != part["domain"]:
            raise SapError(f"train_client: parts say {part['domain']}, the folder is of {domain.name}. Keep one order.")
        own, held = domain.rows("train"), domain.rows("val")
        if part["index"] is not None:
            if partition is None:
                raise ValueError(f"examples_of: {trainee} has a share of {domain.name}, and no partition says which")
            shares = client_rows(domain.labels[own], partition, domain.name, len(classes))
            counts = np.stack([np.bincount(domain.labels[own][share], minlength=len(classes)) for share in shares])
            held = held[_follow(domain.labels[held], counts, part["index"])]
            own = own[shares[part["index"]]]
        rows["train"].append(own)
        rows["val"].append(held)
    train, val = (_gather(domains, rows[split]) for split in ("train", "val"))
    if not len(train):
        raise SapError(f"train_client: {trainee} has no training image. Change data.split or the partition.")
    true_labels = train.labels
    if corruption is not None:
        train = _corrupted(train, corruption, classes, trainee)
    return Holding(train, val, true_labels, len(classes))


def _corrupted(train: Examples, corruption: CorruptionOptions, classes: Sequence[str], trainee: str) -> Examples:
    """The training examples with wrong labels and, of a backdoor, with patches on the same images."""

    def rng() -> np.random.Generator:
        return np.random.default_rng(seed_of("corruption", trainee, corruption.seed))

    name, fraction = corruption.target_class, corruption.fraction
    if name is not None and name not in classes:
        raise SapError(f"corruption.target_class: {unknown('class', name, list(classes))}")
    target = None if name is None else list(classes).index(name)
    wrong = corrupt_labels(train.labels, len(classes), corruption.kind, fraction, target, rng())
    if corruption.kind != "backdoor":
        return replace(train, labels=wrong)
    stamped = np.zeros(len(train), bool)
    stamped[selected(len(train), fraction, rng())] = True
    return replace(train, labels=wrong, stamped=stamped, patch_size=corruption.patch_size)


def _gather(domains: Sequence[Domain], rows: Sequence[np.ndarray]) -> Examples:
    return Examples(
        sources=tuple(domain.images for domain in domains),
        source=np.repeat(np.arange(len(rows)), [len(part) for part in rows]),
        row=np.concatenate(rows),
        labels=np.concatenate([domain.labels[part] for domain, part in zip(domains, rows, strict=True)]),
    )


def _follow(labels: np.ndarray, counts: np.ndarray, index: int) -> np.ndarray:
    """Positions in `labels` of one client: each class is cut in the proportions of `counts` (K,C), in row order."""
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        ends = np.cumsum(counts[:, label]) / max(1, counts[:, label].sum())
        cuts = np.rint(np.concatenate([[0], ends]) * len(rows)).astype(int)
        chosen.append(rows[cuts[index] : cuts[index + 1]])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
