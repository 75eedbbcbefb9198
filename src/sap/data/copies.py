"""Copies of images: the same pixels are one source, near ones are counted. Nothing here looks at pairs.

Identical is told by a digest of the decoded pixels (64 bits: among a million images two that differ share one with a
chance of 3e-8; the CRC-32 of the store would meet a hundred times). Near is an equal perceptual hash: the signs of the
64 lowest frequencies of a 32 × 32 grey image (Zauner 2010, as in the `imagehash` library). It finds most copies that
were saved again as JPEG or scaled, none that were cropped or turned, and takes plain images for one another.
"""

import hashlib
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Print(NamedTuple):
    """What tells an image: the CRC-32 of its pixels for damage, their digest for identical, phash for near (hex)."""

    crc32: int
    digest: str
    phash: str


def print_of(image: np.ndarray) -> Print:
    """The Print of an image (H, W, 3) uint8."""
    import imagehash  # here, as below: tables and figures count pairs, and need none of these
    from PIL import Image

    image = np.ascontiguousarray(image, np.uint8)
    digest = hashlib.blake2b(image.data, digest_size=8).hexdigest()
    return Print(zlib.crc32(image.data), digest, str(imagehash.phash(Image.fromarray(image))))


def joined(sources: Sequence[str], digests: Sequence[str]) -> list[str]:
    """The source of every image, after sources that share an image were made one, under the name of the first.

    Where no two sources share an image, they are what they were.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    names, source = np.unique(np.asarray(sources), return_inverse=True)
    pixels, image = np.unique(np.asarray(digests), return_inverse=True)
    size = len(names) + len(pixels)
    links = coo_matrix((np.ones(len(source), np.int8), (source, len(names) + image)), (size, size))
    group = connected_components(links, directed=False)[1][source]
    first: dict[int, str] = {}
    return [first.setdefault(number, name) for number, name in zip(group.tolist(), sources, strict=True)]


def pairs_apart(keys: np.ndarray, groups: np.ndarray) -> int:
    """How many pairs of (N,) items have the same key and lie in different groups: (n² − Σ n_g²) / 2 of every key."""
    _, key = np.unique(keys, return_inverse=True)
    names, group = np.unique(groups, return_inverse=True)
    return (_squares(key) - _squares(key * max(len(names), 1) + group)) // 2


def _squares(keys: np.ndarray) -> int:
    counts = np.unique(keys, return_counts=True)[1].astype(object)  # Python's integers: no overflow
    return int((counts**2).sum())
