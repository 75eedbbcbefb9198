"""What sources of public pairs share whose images are files below `anchors.root`, and folders of labelled ones."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from sap.data.options import AnchorOptions
from sap.data.sources._api import Public, Section, View
from sap.errors import SapError
from sap.registry import unknown

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
    anchors: AnchorOptions,
    captions_of: Callable[[AnchorOptions], list[tuple[str, str]]],
    view: View,
    key: str = "root",
) -> Public:
    """The pairs (file below anchors.KEY, caption) that `captions_of` finds; SapError names an image that cannot be
    read."""
    from sap.data.images import BadImage, read_image

    folder = getattr(anchors, key)
    if folder is None or not Path(folder).is_dir():
        raise SapError(f"anchors.{key}: {folder} is not a folder. Set it to the folder of the anchor images.")
    root, pairs = Path(folder), captions_of(anchors)

    def image(position: int) -> "np.ndarray":
        path = root / pairs[position][0]
        try:
            return read_image(path, root, view.geometry, view.rotations)
        except BadImage as error:
            raise SapError(f"anchor {path}: {error}. Mend it or remove it from the captions.") from error

    return Public([file for file, _ in pairs], [caption for _, caption in pairs], image)


def class_files(folder: str, classes: Collection[str]) -> list[tuple[str, str]]:
    """Pairs (class/image, class) of the visible files in a folder of class folders, sorted.

    A class may lack; SapError for a folder that is no class of the study, and where there is no image at all.
    """
    found: list[tuple[str, str]] = []
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        for name in names:
            if name not in classes:
                raise SapError(f"anchors.classes: {folder}: {unknown('class', name, list(classes))}")
            with os.scandir(Path(folder, name)) as entries:
                files = sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
            found += [(f"{name}/{file}", name) for file in files]
    except OSError as error:
        raise SapError(
            f"anchors.classes: {folder} is no readable folder ({error.strerror}). Set it to a folder of class/image."
        ) from error
    if not found:
        raise SapError(f"anchors.classes: {folder} holds no class/image. Put public images of the classes there.")
    return found
