"""Train, val and test rows of one domain: stratified by class, disjoint by source, independent of other domains."""

from collections.abc import Sequence

import numpy as np

from sap.data.options import SplitOptions
from sap.errors import SapError
from sap.io import seed_of


def split_rows(
    labels: np.ndarray, sources: Sequence[str], options: SplitOptions, domain: str, classes: Sequence[str]
) -> np.ndarray:
    """Name the split of every row: (N,) array of `train`, `val`, `test`.

    Within each class the distinct `sources` (in their given order) are shuffled by the domain's, the class's and the
    split's seed, and whole sources are dealt out: all images of a source land in one split. Of n sources, test gets
    `share · n` rounded half up, then val, train the rest; each split with a share gets at least one where the class
    has that many sources. With fewer, train is served first, then test, then val. A source with images of several
    classes is dealt out with the first of them.
    """
    check_shares(options)
    splits = np.empty(len(labels), dtype="<U5")
    names = np.asarray(sources)
    dealt: dict[str, str] = {}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        found = [source for source in dict.fromkeys(names[rows].tolist()) if source not in dealt]
        rng = np.random.default_rng(seed_of("split", domain, classes[label], options.seed))
        n_val, n_test = split_sizes(len(found), options)
        order = rng.permutation(len(found))
        for place, source in enumerate(order):
            dealt[found[source]] = "test" if place < n_test else "val" if place < n_test + n_val else "train"
        splits[rows] = [dealt[source] for source in names[rows].tolist()]
    return splits


def check_shares(options: SplitOptions) -> None:
    """SapError unless val and test leave a share to train on."""
    if options.val + options.test >= 1:
        raise SapError(
            f"data.split: val + test must be below 1, got {options.val} + {options.test}. Leave a share to train on."
        )


def split_sizes(n: int, options: SplitOptions) -> tuple[int, int]:
    """How many of a class's n sources go to val and to test."""
    wants_val = options.val > 0
    n_test = min(max(int(options.test * n + 0.5), 1), max(n - 1 - wants_val, 0))
    if n == 2:  # one to train on, one to test on
        n_test = 1
    n_val = min(max(int(options.val * n + 0.5), 1), n - 1 - n_test) if wants_val and n > 2 else 0
    return n_val, n_test


def n_splits(options: SplitOptions) -> int:
    """Number of splits that get a share (train and test always do): a class with fewer images is thin."""
    return 2 + (options.val > 0)
