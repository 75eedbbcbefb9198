"""What sources of public pairs share whose images are files below `anchors.root`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sap.data.options import AnchorOptions
from sap.data.sources._api import Public, Section, View
from sap.errors import SapError

if TYPE_CHECKING:
    import numpy as np

CAPTION_BYTES = 2**30  # COCO's captions have 2**27, those of CC3M 2**29


def existing(anchors: Section, key: str, captions: Path) -> list[str]:
    """The captions' file, which `anchors.KEY` leads to; SapError where it or the images' folder is not there."""
    if not captions.is_file():
        raise SapError(f"anchors.{key}: {captions} is no file. See docs/your-own-data.md for what it must hold.")
    if not Path(anchors["root"]).is_dir():
        raise SapError(f"anchors.root: {anchors['root']} is no folder. Set it to the folder of the anchor images.")
    return [str(captions)]


def pairs_in(
    anchors: AnchorOptions, captions_of: Callable[[AnchorOptions], list[tuple[str, str]]], view: View
) -> Public:
    """The pairs (file, caption) that `captions_of` finds; SapError names an image that cannot be read."""
    from sap.data.images import BadImage, read_image

    if anchors.root is None or not Path(anchors.root).is_dir():
        raise SapError(f"anchors.root: {anchors.root} is not a folder. Set it to the folder of the anchor images.")
    root, pairs = Path(anchors.root), captions_of(anchors)

    def image(position: int) -> "np.ndarray":
        path = root / pairs[position][0]
        try:
            return read_image(path, root, view.geometry, view.rotations)
        except BadImage as error:
            raise SapError(f"anchor {path}: {error}. Mend it or remove it from the captions.") from error

    return Public([file for file, _ in pairs], [caption for _, caption in pairs], image)
