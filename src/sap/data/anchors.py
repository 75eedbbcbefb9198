"""Anchor sets: public image-text pairs, drawn so that a smaller set is the beginning of a larger one."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sap.data.digits import make_anchors
from sap.data.images import BadImage, Geometry, Rotations, fit, read_image
from sap.data.options import AnchorOptions, DigitsOptions
from sap.errors import SapError
from sap.foreign import read_json, regular_file
from sap.io import read_csv, seed_of

CAPTION_BYTES = 2**30  # COCO's captions have 2**27, those of CC3M 2**29


class Anchors(NamedTuple):
    """Drawn pairs in order: images (N, size, size, 3) uint8, N captions, N files; the first n are the set of size n."""

    images: np.ndarray
    captions: list[str]
    files: list[str]


def repeats(anchors: Anchors) -> dict[str, list[tuple[str, str]]]:
    """`images` and `captions` -> (file, first file with the same one) of each anchor that repeats an earlier one."""
    found: dict[str, list[tuple[str, str]]] = {}
    for what, values in (("images", [image.tobytes() for image in anchors.images]), ("captions", anchors.captions)):
        first: dict[bytes | str, int] = {}
        places = [first.setdefault(value, position) for position, value in enumerate(values)]
        found[what] = [
            (anchors.files[position], anchors.files[place]) for position, place in enumerate(places) if place < position
        ]
    return found


def draw_anchors(
    options: AnchorOptions,
    draw: int,
    geometry: Geometry,
    digits: DigitsOptions | None = None,
    rotations: Rotations | None = None,
) -> Anchors:
    """Draw max(sizes) pairs: the beginning of one permutation of all pairs, seeded by the source's kind and `draw`.

    Not by the path: a moved folder gives the same draw. `digits` is needed by that source only; `rotations` as for
    `sap.data.images.read_image`. Raises SapError for captions that cannot be used, a path that leaves the folder, an
    unreadable drawn image, or too few pairs.
    """
    if options.source == "digits":
        images, texts = make_anchors(digits or DigitsOptions())
        pairs = [(f"digits/{i:04d}", caption) for i, caption in enumerate(texts)]
    else:
        if options.root is None or not Path(options.root).is_dir():
            raise SapError(f"anchors.root: {options.root} is not a folder. Set it to the folder of the anchor images.")
        pairs = read_captions(Path(options.root)) if options.source == "folder" else read_coco(options.captions)
    n = max(options.sizes)
    if len(pairs) < n:
        raise SapError(
            f"anchors: {options.source} source {options.root or ''} has {len(pairs)} pairs, but anchors.sizes asks for "
            f"{n}. Lower anchors.sizes or add pairs."
        )
    order = np.random.default_rng(seed_of("anchors", options.source, draw)).permutation(len(pairs))[:n]
    files, captions = zip(*(pairs[i] for i in order), strict=True)
    if options.source == "digits":
        drawn = [fit(Image.fromarray(images[i]), geometry) for i in order]
    else:
        drawn = [_read(Path(options.root or "."), file, geometry, rotations) for file in files]
    return Anchors(np.stack(drawn), list(captions), list(files))


def read_captions(root: Path) -> list[tuple[str, str]]:
    """Pairs (file relative to root, caption) of root/captions.csv, in its order."""
    path = root / "captions.csv"
    if not path.is_file():
        raise SapError(f"{path} is missing. Write one with the columns file,caption; file is relative to {root}.")
    rows = [
        {(name or "").lstrip("\ufeff"): value for name, value in row.items()}
        for row in read_csv(regular_file(path, CAPTION_BYTES))
    ]
    missing = [name for name in ("file", "caption") if rows and name not in rows[0]]
    if missing:
        raise SapError(
            f"{path}: the column {missing[0]} is missing; found {', '.join(rows[0])}. Name them file,caption."
        )
    for line, row in enumerate(rows, start=2):
        if "" in row:
            raise SapError(f"{path}: row {line} has more fields than columns. Quote captions that contain a comma.")
        if not (row["file"] or "").strip() or not (row["caption"] or "").strip():
            raise SapError(f"{path}: row {line} lacks its file or its caption. Fill it in or remove the row.")
    return [(row["file"], row["caption"]) for row in rows]


def read_coco(path: str | Path | None) -> list[tuple[str, str]]:
    """Pairs of a COCO captions JSON: every captioned image by id, with the caption of its lowest annotation id."""
    if path is None or not Path(path).is_file():
        raise SapError(f"anchors.captions: {path} is not a file. Set it to a COCO captions JSON.")
    content = read_json(path, CAPTION_BYTES)
    try:
        captions: dict[int, str] = {}
        for annotation in sorted(content["annotations"], key=lambda annotation: annotation["id"]):
            captions.setdefault(annotation["image_id"], _words(annotation["caption"]))
        images = sorted(content["images"], key=lambda image: image["id"])
        return [(_words(image["file_name"]), captions[image["id"]]) for image in images if image["id"] in captions]
    except (KeyError, TypeError) as error:
        raise SapError(
            f"{path} is not a COCO captions JSON ({type(error).__name__}: {error}). It needs `images` with id and "
            "file_name, and `annotations` with id, image_id and caption."
        ) from error


def _words(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise TypeError(f"expected a text, got {text!r}")
    return text.strip()


def _read(root: Path, file: str, geometry: Geometry, rotations: Rotations | None) -> np.ndarray:
    try:
        return read_image(root / file, root, geometry, rotations)
    except BadImage as error:
        raise SapError(f"anchor {root / file}: {error}. Mend it or remove it from the captions.") from error
