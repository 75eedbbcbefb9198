"""The store of one domain: decoded images that later jobs map into memory, and an index of what they are."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple

import numpy as np

from sap.data.copies import Print, print_of
from sap.errors import damaged, unreadable
from sap.io import atomic, load_tensors, read_csv, save_tensors, verified, write_csv

SPLITS = ("train", "val", "test")
COLUMNS = ["file", "class", "label", "split", *Print._fields]
EXAMPLES = "examples.safetensors"
MOST_EXAMPLES = 10


class Images:
    """The images of a store, (N, size, size, 3) uint8, mapped and read-only; an index (B,) int64 reads B of them.

    A store may be far larger than what one job reads: each image is compared with its checksum when it is first read.
    """

    def __init__(self, path: Path, mapped: np.ndarray, checksums: np.ndarray) -> None:
        self.shape = mapped.shape
        self._path, self._mapped, self._checksums = path, mapped, checksums
        self._checked = np.zeros(len(mapped), bool)

    def __len__(self) -> int:
        return len(self._mapped)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The images at these positions (B,), a copy (B, size, size, 3); SapError where one is damaged."""
        batch = np.ascontiguousarray(self._mapped[rows])
        for position in np.flatnonzero(~self._checked[rows]):
            row = rows[position]
            if zlib.crc32(batch[position]) != self._checksums[row]:
                raise damaged(self._path, f"image {row} has not the checksum that index.csv says")
            self._checked[row] = True
        return batch


class Domain(NamedTuple):
    """One domain: images (N, size, size, 3) uint8, labels (N,) int64, splits (N,) of str, files."""

    name: str
    images: Images
    labels: np.ndarray
    splits: np.ndarray
    files: tuple[str, ...]

    def rows(self, split: str) -> np.ndarray:
        """Positions (int64, ascending) of the images of `train`, `val` or `test`."""
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
        return np.flatnonzero(self.splits == split)


def write_images(path: str | Path, images: Iterable[np.ndarray], size: int) -> list[Print]:
    """Append images (size, size, 3) uint8 one by one to a .npy file, atomically; returns the Print of each.

    The number need not be known before: numpy pads the header so that it can be written again at the end. Plain
    appending rather than a writable memory map, because a full disk is then an error and not the signal SIGBUS.
    """
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        _write_header(handle, 0, size)
        start, prints = handle.tell(), []
        for image in images:
            handle.write(np.ascontiguousarray(image, np.uint8).data)
            prints.append(print_of(image))
        handle.seek(0)
        _write_header(handle, len(prints), size)
        if handle.tell() != start:
            raise RuntimeError(f"{path}: numpy's header changed its length from {start} to {handle.tell()}")
    return prints


def write_index(
    folder: str | Path,
    files: Sequence[str],
    labels: np.ndarray,
    splits: np.ndarray,
    prints: Sequence[Print],
    classes: Sequence[str],
    skipped: Mapping[str, str],
) -> None:
    """Write index.csv (rows in the order of images.npy) and skipped.csv (file, reason)."""
    rows = zip(files, (classes[label] for label in labels), labels, splits, prints, strict=True)
    lines = (dict(zip(COLUMNS, (*row, *found), strict=True)) for *row, found in rows)
    write_csv(Path(folder) / "index.csv", lines, COLUMNS)
    reasons = [{"file": file, "reason": reason} for file, reason in skipped.items()]
    write_csv(Path(folder) / "skipped.csv", reasons, ["file", "reason"])


def write_examples(folder: str | Path, labels: np.ndarray, splits: np.ndarray, classes: int) -> None:
    """Write examples.safetensors from images.npy: the first training image of up to ten classes, spread over all.

    A report shows these: it needs no other image, and can be made again where images.npy is gone.
    """
    shown = np.unique(np.linspace(0, classes - 1, min(MOST_EXAMPLES, classes)).round().astype(np.int64))
    train_first = np.argsort(splits != "train", kind="stable")
    found = [label for label in shown if label in labels]
    rows = [train_first[labels[train_first] == label][0] for label in found]
    images = np.load(Path(folder) / "images.npy", mmap_mode="r")[rows]
    save_tensors(Path(folder) / EXAMPLES, {"images": images, "labels": np.array(found, np.int64)})


def read_examples(folder: str | Path) -> dict[int, np.ndarray]:
    """label -> (size, size, 3) uint8, as `write_examples` chose them; SapError for a file that cannot be read."""
    found = load_tensors(Path(folder) / EXAMPLES, "np")
    return dict(zip(found["labels"].tolist(), found["images"], strict=True))


def open_store(folder: str | Path) -> Domain:
    """Open a prepared domain; its images are mapped and not read yet.

    Raises SapError with the path and the next step for a missing, truncated or inconsistent file.
    """
    folder = Path(folder)
    path, index_path = folder / "images.npy", folder / "index.csv"
    try:
        images = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, TypeError, SyntaxError, OverflowError, TokenError) as error:  # numpy parses Python
        raise unreadable(path, error) from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise unreadable(path, ValueError("expected uint8 images of shape (N, H, W, 3)"))
    index = read_csv(verified(index_path))
    try:
        labels = np.array([int(row["label"]) for row in index], np.int64)
        splits = np.array([row["split"] for row in index])
        files = tuple(row["file"] for row in index)
        checksums = np.array([int(row["crc32"]) for row in index], np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(index_path, ValueError(f"expected the columns {','.join(COLUMNS)}")) from error
    if len(index) != len(images):
        raise unreadable(index_path, ValueError(f"{len(index)} rows for {len(images)} images in {path.name}"))
    if not set(splits.tolist()) <= set(SPLITS) or labels.min() < 0:
        raise unreadable(index_path, ValueError("a split other than train, val, test, or a negative label"))
    return Domain(folder.name, Images(path, images, checksums), labels, splits, files)


def _write_header(handle, count: int, size: int) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(handle, header)
