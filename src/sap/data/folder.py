"""Images from `root/domain/class/image`: what is there, in a fixed order, and its pixels, streamed."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sap.data.images import BadImage, Geometry, Rotations, read_image
from sap.errors import SapError
from sap.escape import terminal
from sap.registry import unknown

# Written by file managers, never by people; hidden files (.DS_Store) are passed over likewise.
CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}
AHEAD = 4  # decoded images waiting per thread; bounds memory


def list_domains(root: str | Path | None) -> list[str]:
    """Sorted names of the folders under `root`; SapError where it is missing or holds none."""
    if root is None or not Path(root).is_dir():
        raise SapError(f"data.root: {root} is not a folder. Set it to the folder that holds root/domain/class/image.")
    domains = [entry.name for entry in _visible(Path(root)) if entry.is_dir()]
    if not domains:
        raise SapError(f"data.root: {root} holds no folders. Each domain needs one: root/domain/class/image.")
    return domains


def list_classes(root: str | Path, domains: Sequence[str]) -> list[str]:
    """Sorted union of the class folders of these domains; SapError for a domain that is not there."""
    found = set()
    known = list_domains(root)
    for domain in domains:
        if domain not in known:
            raise SapError(f"data.domains: {unknown('domain', domain, known)}")
        found |= {entry.name for entry in _visible(Path(root, domain)) if entry.is_dir()}
    return sorted(found)


def list_images(root: str | Path, domain: str, classes: Sequence[str]) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """Files of a domain by class and then name: paths relative to `root`, labels (N,) int64, and what else lies there.

    The third is {path: reason} for things that cannot be images of a class: loose files, folders inside a class,
    folders of no class, names that are not plain text. Raises SapError for a domain or class with such a name.
    """
    list_classes(root, [domain])  # says so where root or domain is missing
    odd = [name for name in (domain, *classes) if terminal(name) != name]
    if odd:
        raise SapError(f"data.root: the folder name {terminal(odd[0])!r} is not plain UTF-8 text. Rename the folder.")
    files, labels, strays = [], [], {}
    for entry in _visible(Path(root, domain)):
        path = f"{domain}/{terminal(entry.name)}"
        if not entry.is_dir():
            strays[path] = "lies beside the class folders"
        elif entry.name not in classes:
            strays[path] = "a folder of no class of this experiment"
    for label, name in enumerate(classes):
        folder = Path(root, domain, name)
        for entry in _visible(folder) if folder.is_dir() else ():
            path = f"{domain}/{name}/{terminal(entry.name)}"
            if entry.is_dir():
                strays[path] = "a folder inside a class folder"
            elif terminal(entry.name) != entry.name:
                strays[path] = "its name is not plain UTF-8 text"
            else:
                files.append(path)
                labels.append(label)
    return files, np.array(labels, np.int64), strays


def decode(
    root: str | Path, files: Sequence[str], geometry: Geometry, threads: int, rotations: Rotations | None = None
) -> Iterator[tuple[int, np.ndarray | BadImage]]:
    """Yield (position, image (size, size, 3) uint8 or the reason why there is none) in the order of `files`.

    `threads` decode in parallel (Pillow releases the interpreter lock), at most AHEAD images each in advance:
    memory does not grow with the number of files. `rotations`: see `sap.data.images.read_image`.
    """
    root = Path(root)

    def read(file: str) -> np.ndarray | BadImage:
        try:
            return read_image(root / file, root, geometry, rotations)
        except BadImage as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        waiting, done = deque[Future[np.ndarray | BadImage]](), 0
        for file in files:
            waiting.append(pool.submit(read, file))
            if len(waiting) > AHEAD * threads:
                yield done, waiting.popleft().result()
                done += 1
        while waiting:
            yield done, waiting.popleft().result()
            done += 1


def _visible(folder: Path) -> list[Path]:
    names = sorted(os.listdir(folder))
    return [folder / name for name in names if not name.startswith(".") and name.lower() not in CLUTTER]
