"""Public pairs of a COCO captions file: every captioned image, with the caption of its lowest annotation id."""

from pathlib import Path
from typing import Any

from sap.data.options import AnchorOptions
from sap.data.sources._api import Pairs, Public, View, add_pairs
from sap.data.sources._files import CAPTION_BYTES, existing, pairs_in
from sap.errors import SapError
from sap.foreign import read_json


def read_pairs(anchors: AnchorOptions, own: Any, view: View) -> Public:
    return pairs_in(anchors, read_coco, view)


def read_coco(anchors: AnchorOptions) -> list[tuple[str, str]]:
    """Pairs (file relative to root, caption), by the images' ids."""
    path = anchors.captions
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


add_pairs(
    Pairs(
        "coco",
        "reads a captions JSON",  # which takes a second or more: its pairs are counted when they are drawn
        read_pairs,
        files=lambda anchors: existing(anchors, "captions", Path(anchors["captions"])),
        required=("root", "captions"),
    )
)
