"""The embedded `digits` set: four domains, public pairs, and a corpus to pretrain on; drawn by `sap.data.digits`."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sap.data.options import DIGITS_CLASSES, DIGITS_DOMAINS, AnchorOptions, DataOptions, DigitsOptions
from sap.data.sources._api import Corpus, Pairs, Public, Reading, Section, Source, View, add_pairs, add_source
from sap.errors import SapError


def read(domain: str, options: DataOptions, own: DigitsOptions, classes: Sequence[str], view: View) -> Reading:
    """Images of one shape, whatever its random appearance, are a group."""
    from PIL import Image

    from sap.data.digits import make_domain
    from sap.data.images import fit

    if tuple(classes) != DIGITS_CLASSES:
        raise SapError(
            f"classes: the digits set has {', '.join(DIGITS_CLASSES)}, got {', '.join(classes)}. Use all, in order."
        )
    images, labels, shapes = make_domain(domain, own)
    named = zip(labels, shapes, range(len(labels)), strict=True)
    files = [f"{classes[label]}/{shape}-{position % own.per_class}" for label, shape, position in named]
    same = own.size == view.geometry.size
    return Reading(files, labels, shapes, (i if same else fit(Image.fromarray(i), view.geometry) for i in images))


def read_pairs(anchors: AnchorOptions, own: DigitsOptions, view: View) -> Public:
    from PIL import Image

    from sap.data.digits import make_anchors
    from sap.data.images import fit

    images, captions = make_anchors(own)
    files = [f"digits/{position:04d}" for position in range(len(captions))]
    return Public(files, captions, lambda position: fit(Image.fromarray(images[position]), view.geometry))


def read_classes(anchors: AnchorOptions, own: DigitsOptions, view: View) -> Public:
    from PIL import Image

    from sap.data.digits import make_class_anchors
    from sap.data.images import fit

    images, labels = make_class_anchors(own)
    names = [DIGITS_CLASSES[label] for label in labels]
    files = [f"{name}/{position:04d}" for position, name in enumerate(names)]
    return Public(files, names, lambda position: fit(Image.fromarray(images[position]), view.geometry))


def make_corpus(own: DigitsOptions) -> tuple[Any, Any, Any]:
    from sap.data import digits

    return digits.make_corpus(own)


def pool(name: str, data: Section) -> dict[str, Any]:
    """One pool: its size, and what all pools share. The pools are drawn independently."""
    return {"digits": {key: data["digits"][key] for key in (name, "size", "seed")}}


add_source(
    Source(
        "digits",
        "is embedded",
        domains=lambda data: list(DIGITS_DOMAINS),
        classes=lambda data: list(DIGITS_CLASSES),
        counts=lambda data, domain: dict.fromkeys(data["classes"], data["digits"]["per_class"]),
        read=read,
        stamp=lambda data, domain: "",  # it has no files
        fields=partial(pool, "per_class"),
        options=DigitsOptions,
        corpus=Corpus(lambda data: data["digits"]["size"], partial(pool, "corpus"), make_corpus),
    )
)
add_pairs(
    Pairs(
        "digits",
        "is embedded",
        read_pairs,
        known=lambda anchors, data: (data["digits"]["anchors"], "data.digits.anchors"),
        fields=partial(pool, "anchors"),
        options=DigitsOptions,
        read_classes=read_classes,
    )
)
