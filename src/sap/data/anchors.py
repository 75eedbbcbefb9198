"""Anchor sets: public image-text pairs, drawn so that a smaller set is the beginning of a larger one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sap.config import parse
from sap.data.images import Geometry, Rotations
from sap.data.options import AnchorOptions
from sap.data.sources import PAIRS
from sap.data.sources._api import View, own_options
from sap.errors import SapError
from sap.io import seed_of


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


def parse_anchors(anchors: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[AnchorOptions, Any]:
    """(the config's section, the source's own options, which `data` holds under its name); SapError for a wrong key."""
    options = parse(AnchorOptions, anchors, "anchors")
    return options, own_options(PAIRS[options.source], data)


def draw_anchors(
    options: AnchorOptions, draw: int, geometry: Geometry, own: Any = None, rotations: Rotations | None = None
) -> Anchors:
    """Draw max(sizes) pairs: the beginning of one permutation of all pairs, seeded by the source's kind and `draw`.

    Not by the path: a moved folder gives the same draw. `own` are the options of the source itself, None for their
    defaults; `rotations` as for `sap.data.images.read_image`. Raises SapError for captions that cannot be used, a path
    that leaves the folder, an unreadable drawn image, or too few pairs.
    """
    source = PAIRS[options.source]
    own = source.options() if own is None and source.options else own
    pairs = source.read(options, own, View(geometry, 1, rotations or Rotations()))
    known, n = len(pairs.files), max(options.sizes)
    if known < n:
        raise SapError(
            f"anchors: {options.source} source {options.root or ''} has {known} pairs, but anchors.sizes asks for {n}. "
            "Lower anchors.sizes or add pairs."
        )
    order = np.random.default_rng(seed_of("anchors", options.source, draw)).permutation(known)[:n].tolist()
    images = np.stack([pairs.image(position) for position in order])
    return Anchors(images, [pairs.captions[k] for k in order], [pairs.files[k] for k in order])
