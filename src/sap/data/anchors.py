"""Anchor sets: public image-text pairs, drawn so that a smaller set is the beginning of a larger one.

Two pools. `captions`: pairs as their source has them, whatever their words. `classes`: public images of the study's
classes, each captioned by one of the study's prompts with its class word. Only the second is sure to hold those words.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sap.config import parse
from sap.data.images import Geometry, Rotations
from sap.data.options import AnchorOptions
from sap.data.sources import PAIRS
from sap.data.sources._api import Public, View, own_options
from sap.data.sources._files import class_files, pairs_in
from sap.errors import SapError
from sap.io import seed_of


class Anchors(NamedTuple):
    """Drawn pairs in order: images (N, size, size, 3) uint8, N captions, N files; the first n are the set of size n."""

    images: np.ndarray
    captions: list[str]
    files: list[str]


class Words(NamedTuple):
    """What the captions of the pool `classes` are made of: class -> its text, and templates with {} for it."""

    texts: Mapping[str, str]
    prompts: Sequence[str]


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
    options: AnchorOptions,
    draw: int,
    geometry: Geometry,
    own: Any = None,
    rotations: Rotations | None = None,
    words: Words | None = None,
) -> Anchors:
    """Draw max(sizes) pairs of the pool `captions`, or of the pool `classes` where there are `words`.

    Captions: the beginning of one permutation of all pairs, seeded by the source's kind and `draw`. Classes: all of
    them in turn, in another order each time, so that sets of any size hold them in nearly equal numbers; which image
    and which prompt is seeded by `draw`. Neither depends on the path: a moved folder gives the same draw.

    `own` are the options of the source itself, None for their defaults; `rotations` as for sap.data.images.read_image.
    Raises SapError for captions that cannot be used, a path that leaves the folder, an unreadable drawn image, too few
    pairs, or a source that has no public images of the classes.
    """
    source = PAIRS[options.source]
    own = source.options() if own is None and source.options else own
    view = View(geometry, 1, rotations or Rotations())
    pairs = source.read(options, own, view) if words is None else _of_classes(options, own, words, view)
    known, n = len(pairs.files), max(options.sizes)
    if known < n:
        place = (
            f"{options.source} source {options.root or ''}" if words is None or not options.classes else options.classes
        )
        raise SapError(
            f"anchors: {place} has {known} pairs, but anchors.sizes asks for {n}. Lower anchors.sizes or add pairs."
        )
    if words is None:
        order = np.random.default_rng(seed_of("anchors", options.source, draw)).permutation(known).tolist()
        captions = [pairs.captions[k] for k in order]
    else:
        order, captions = _in_turn(pairs.captions, words, np.random.default_rng(seed_of("class-anchors", draw)))
    images = np.stack([pairs.image(position) for position in order[:n]])
    return Anchors(images, captions[:n], [pairs.files[k] for k in order[:n]])


def _of_classes(options: AnchorOptions, own: Any, words: Words, view: View) -> Public:
    """The public images of the classes, each with the name of its class."""
    if options.classes:
        found = class_files(options.classes, words.texts)
        return pairs_in(options, lambda _: found, view, "classes")
    read = PAIRS[options.source].read_classes
    if read is None:
        raise SapError(
            f"anchors.classes must be set, for the {options.source} source has no images of the study's classes. Set "
            "it to a folder of class/image."
        )
    return read(options, own, view)


def _in_turn(names: Sequence[str], words: Words, rng: np.random.Generator) -> tuple[list[int], list[str]]:
    """(positions of all images, a class at a time in turn, and their captions)."""
    queues: dict[str, list[int]] = defaultdict(list)
    for position in rng.permutation(len(names)).tolist():
        queues[names[position]].append(position)
    order: list[int] = []
    while left := [name for name in sorted(queues) if queues[name]]:
        order += [queues[left[place]].pop() for place in rng.permutation(len(left))]
    templates = [words.prompts[place] for place in rng.integers(len(words.prompts), size=len(order))]
    texts = [words.texts[names[position]] for position in order]
    # Not str.format: other braces of a template are text.
    return order, [template.replace("{}", text) for template, text in zip(templates, texts, strict=True)]
