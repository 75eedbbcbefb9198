"""The stage `prepare_domain`: one domain's images, decoded, split and written as a store."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from sap.data.copies import Print, joined, pairs_apart
from sap.data.digits import CLASSES, make_domain
from sap.data.folder import decode, list_images
from sap.data.images import Geometry, Rotations, fit
from sap.data.options import DataOptions
from sap.data.split import check_shares, n_splits, split_rows
from sap.data.store import SPLITS, write_examples, write_images, write_index
from sap.errors import SapError
from sap.escape import terminal
from sap.progress import bar


def prepare_domain(
    domain: str, options: DataOptions, geometry: Geometry, classes: Sequence[str], folder: str | Path, threads: int = 1
) -> dict[str, Any]:
    """Write images.npy, index.csv, skipped.csv and examples.safetensors of one domain to `folder`.

    `classes` are the class folders in label order. Returns facts for meta.json: `counts` {split: {class: images}},
    `images`, `skipped` and `rotated` (numbers; the last counts EXIF rotations, applied or not), `copies` (see
    `_copies`). Raises SapError for what `options.problems` refuses.
    """
    check_shares(options.split)  # before minutes of decoding
    rotated = 0
    if options.source == "digits":
        files, labels, prints, sources, skipped = _digits(domain, options, geometry, classes, Path(folder))
    else:
        files, labels, prints, skipped, rotated = _folder(domain, options, geometry, classes, Path(folder), threads)
        sources = files
    sources = joined(sources, [found.digest for found in prints])
    if options.source == "folder":
        _check_classes(_labels_of_sources(labels, sources), classes, domain, options)
    splits = split_rows(labels, sources, options.split, domain, classes)
    copies = _copies(labels, splits, prints)
    tqdm.write(copies_in_words(domain, copies))
    write_index(folder, files, labels, splits, prints, classes, skipped)
    write_examples(folder, labels, splits, len(classes))
    counts = {
        split: {name: int(np.sum((labels == label) & (splits == split))) for label, name in enumerate(classes)}
        for split in SPLITS
    }
    return {"counts": counts, "images": len(files), "skipped": len(skipped), "copies": copies, "rotated": rotated}


def _labels_of_sources(labels: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Labels of the images of a domain, those of copies once."""
    return np.array([label for label, _ in dict.fromkeys(zip(labels.tolist(), sources, strict=True))], np.int64)


def _copies(labels: np.ndarray, splits: np.ndarray, prints: Sequence[Print]) -> dict[str, int]:
    """Of one domain: `identical` images that another one before them equals, pairs of equal ones with different labels
    (`labelled_apart`), and pairs of near ones in different splits (`near_across_splits`)."""
    digests, near = np.array([found.digest for found in prints]), np.array([found.phash for found in prints])
    return {
        "identical": len(digests) - len(np.unique(digests)),
        "labelled_apart": pairs_apart(digests, labels),
        "near_across_splits": pairs_apart(near, splits),
    }


def copies_in_words(domain: str, copies: Mapping[str, int]) -> str:
    """One sentence with the numbers of `_copies`."""
    said = f"{domain}: {copies['identical']} images are identical to another one"
    said += ", and share its split" if copies["identical"] else ""
    if copies["labelled_apart"]:
        said += f"; {copies['labelled_apart']} such pairs have different classes: one of the two labels is wrong"
    return f"{said}; {copies['near_across_splits']} pairs of near duplicates lie in different splits."


def _digits(domain, options, geometry, classes, folder):
    if tuple(classes) != CLASSES:
        raise SapError(
            f"classes: the digits set has {', '.join(CLASSES)}, got {', '.join(classes)}. Use all, in order."
        )
    images, labels, sources = make_domain(domain, options.digits)
    if options.digits.size != geometry.size:
        images = [fit(Image.fromarray(image), geometry) for image in images]
    prints = write_images(folder / "images.npy", images, geometry.size)
    turns = np.arange(len(labels)) % options.digits.per_class
    named = zip(labels, sources, turns, strict=True)
    files = [f"{CLASSES[label]}/{source}-{turn}" for label, source, turn in named]
    return files, labels, prints, sources, {}


def _folder(domain, options, geometry, classes, folder, threads):
    listed, labels, skipped = list_images(options.root, domain, classes)
    for file, reason in skipped.items():
        _report(file, reason, options)
    _check_classes(labels, classes, domain, options)  # before minutes of decoding, and after it
    kept: list[int] = []
    rotations = Rotations(options.exif == "apply")

    def good() -> Iterator[np.ndarray]:
        decoded = decode(options.root, listed, geometry, threads, rotations)
        for position, image in bar(decoded, desc=domain, total=len(listed), unit="image", disable=None):
            if isinstance(image, np.ndarray):
                kept.append(position)
                yield image
            else:
                skipped[listed[position]] = str(image)
                _report(listed[position], str(image), options)
        _check_classes(labels[kept], classes, domain, options)

    prints = write_images(folder / "images.npy", good(), geometry.size)
    if rotations.paths:
        done = "applied" if rotations.apply else "ignored as open_clip does; data.exif: apply turns them upright"
        tqdm.write(
            f"EXIF rotation of {len(rotations.paths)} of {len(kept)} images is {done}: {min(rotations.paths)} ..."
        )
    return [listed[position] for position in kept], labels[kept], prints, skipped, len(rotations.paths)


def _report(file: str, reason: str, options: DataOptions) -> None:
    path = f"{options.root}/{file}"
    if options.problems.bad_image == "refuse":
        raise SapError(f"{path}: {reason}. Mend or remove it, or set data.problems.bad_image: skip.")
    tqdm.write(terminal(f"skipped {path}: {reason}"))


def _check_classes(labels: np.ndarray, classes: Sequence[str], domain: str, options: DataOptions) -> None:
    """One sentence for an empty domain, a class without images, a class with too few for the splits."""
    where = f"{options.root}/{domain}"
    counts = np.bincount(labels, minlength=len(classes))
    if not len(labels):
        raise SapError(f"{where} holds no usable image of any class. Put images into {where}/<class>/.")
    for name, count in zip(classes, counts, strict=True):
        if count == 0 and options.problems.missing_class == "refuse":
            raise SapError(
                f"{where} has no usable image of class '{name}', which other domains have. Add some to {where}/{name}, "
                "remove the class everywhere, or set data.problems.missing_class: allow."
            )
        if 0 < count < n_splits(options.split) and options.problems.thin_class == "refuse":
            raise SapError(
                f"{where}/{name} has {count} usable image(s), fewer than the {n_splits(options.split)} splits; copies "
                "count once. Add images, set data.split.val: 0, or set data.problems.thin_class: allow."
            )
