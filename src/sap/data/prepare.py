"""The stage `prepare_domain`: one domain's images, decoded, split and written as a store."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sap.config import parse
from sap.data.copies import Print, joined, pairs_apart
from sap.data.images import Geometry, Rotations
from sap.data.options import DataOptions
from sap.data.sources import SOURCES
from sap.data.sources._api import Reading, View, own_options
from sap.data.split import check_shares, n_splits, split_rows
from sap.data.store import SPLITS, write_examples, write_images, write_index
from sap.errors import SapError
from sap.escape import terminal
from sap.progress import bar


def parse_data(data: Mapping[str, Any]) -> tuple[DataOptions, Any]:
    """(what all sources share, the source's own options) of the config's section; SapError for a wrong key."""
    source = SOURCES[data.get("source", DataOptions.source)]
    shared = {key: value for key, value in data.items() if key != source.name}
    return parse(DataOptions, shared, "data"), own_options(source, data)


def prepare_domain(
    domain: str,
    options: DataOptions,
    geometry: Geometry,
    classes: Sequence[str],
    folder: str | Path,
    threads: int = 1,
    own: Any = None,
) -> dict[str, Any]:
    """Write images.npy, index.csv, skipped.csv and examples.safetensors of one domain to `folder`.

    `classes` are the names in label order; `own` are the options of the source itself, None for their defaults. Returns
    facts for meta.json: `counts` {split: {class: images}}, `images`, `skipped` and `rotated` (numbers; the last counts
    EXIF rotations, applied or not), `copies` (see `_copies`). Raises SapError for what `options.problems` refuses.
    """
    check_shares(options.split)  # before minutes of decoding
    source, rotations = SOURCES[options.source], Rotations(options.exif == "apply")
    own = source.options() if own is None and source.options else own
    reading = source.read(domain, options, own, classes, View(geometry, threads, rotations))
    kept, prints, skipped = _store(reading, domain, options, geometry, classes, Path(folder))
    _say_rotations(rotations, len(kept))
    files, labels = [reading.files[position] for position in kept], reading.labels[kept]
    groups = joined([reading.groups[position] for position in kept], [found.digest for found in prints])
    _check_classes(_labels_of_sources(labels, groups), classes, domain, options)
    splits = split_rows(labels, groups, options.split, domain, classes)
    copies = _copies(labels, splits, prints)
    tqdm.write(copies_in_words(domain, copies))
    write_index(folder, files, labels, splits, prints, classes, skipped)
    write_examples(folder, labels, splits, len(classes))
    counts = {
        split: {name: int(np.sum((labels == label) & (splits == split))) for label, name in enumerate(classes)}
        for split in SPLITS
    }
    facts = {"counts": counts, "images": len(files), "skipped": len(skipped), "copies": copies}
    return facts | {"rotated": len(rotations.paths)}


def _store(
    reading: Reading, domain: str, options: DataOptions, geometry: Geometry, classes: Sequence[str], folder: Path
) -> tuple[list[int], list[Print], dict[str, str]]:
    """Write images.npy; (positions of the images that are in it, their prints, {what is left out: reason})."""
    skipped = dict(reading.strays)
    for file, reason in skipped.items():
        _report(file, reason, options)
    _check_classes(reading.labels, classes, domain, options)  # before minutes of decoding, and after it
    kept: list[int] = []

    def good() -> Iterator[np.ndarray]:
        images = bar(reading.images, desc=domain, total=len(reading.files), unit="image", disable=None)
        for position, image in enumerate(images):
            if isinstance(image, np.ndarray):
                kept.append(position)
                yield image
            else:
                skipped[reading.files[position]] = str(image)
                _report(reading.files[position], str(image), options)
        _check_classes(reading.labels[kept], classes, domain, options)

    return kept, write_images(folder / "images.npy", good(), geometry.size), skipped


def _say_rotations(rotations: Rotations, images: int) -> None:
    if rotations.paths:
        done = "applied" if rotations.apply else "ignored as open_clip does; data.exif: apply turns them upright"
        tqdm.write(f"EXIF rotation of {len(rotations.paths)} of {images} images is {done}: {min(rotations.paths)} ...")


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


def _report(file: str, reason: str, options: DataOptions) -> None:
    path = f"{options.root}/{file}" if options.root else file
    if options.problems.bad_image == "refuse":
        raise SapError(f"{path}: {reason}. Mend or remove it, or set data.problems.bad_image: skip.")
    tqdm.write(terminal(f"skipped {path}: {reason}"))


def _check_classes(labels: np.ndarray, classes: Sequence[str], domain: str, options: DataOptions) -> None:
    """One sentence for an empty domain, a class without images, a class with too few for the splits."""
    where = f"{options.root}/{domain}" if options.root else domain
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
