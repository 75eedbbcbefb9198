"""What was predicted, image by image: read from the shards when a statistic asks for it, and no earlier."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sap.errors import SapError, unreadable
from sap.evaluate.rows import FIELDS, TEST, digest_arrays

Array = NDArray[np.float64]
T = TypeVar("T")


class Outcomes:
    """Per-image predictions of an experiment's rows; S seeds, n images of a domain in the order of its store."""

    def __init__(self, rows: pd.DataFrame, points: pd.DataFrame, seeds: Sequence[int], targets: Sequence[str]) -> None:
        self._points, self._seeds, self._targets = points, list(seeds), list(targets)
        names = rows[["point", "target", "seed", "domain", "images"]].itertuples(index=False, name=None)
        places = rows[["shard", "index", "predictions"]].itertuples(index=False, name=None)
        self._rows = dict(zip(names, places, strict=True))
        self._kept: dict[tuple[str, str, str], Array | None] = {}

    def correct(self, point: str, domain: str, target: str | None = None) -> Array | None:
        """(S, n) 1 where the prediction is right, for the seeds that the point is planned at (`seeds_of`).

        Of test images. `target`: the fold, by default the one that holds the domain out. NaN for a seed
        without a row; None where no seed has one.
        """
        key = (point, domain, target or domain)
        if key not in self._kept:
            read = [self.read(point, domain, seed, target) for seed in self.seeds_of(point)]
            there = next((found for found in read if found is not None), None)
            if there is None:
                self._kept[key] = None
            else:
                missing = np.full(len(there["labels"]), np.nan)
                self._kept[key] = np.stack(
                    [missing if found is None else found["predicted"] == found["labels"] for found in read]
                ).astype(np.float64)
        return self._kept[key]

    def seeds_of(self, point: str) -> list[int]:
        """The seeds that a point is planned at."""
        asked = self._points.loc[point, "seeds"] if point in self._points.index else None
        return [seed for seed in self._seeds if asked is None or seed in asked]

    def read(
        self, point: str, domain: str, seed: int, target: str | None = None, images: str = TEST
    ) -> dict[str, np.ndarray] | None:
        """{"labels", "predicted" (n,) int16, "probability", "true_probability" (n,) float32} of one row; None without.

        Raises SapError where the predictions are not those that the row was written with.
        """
        key = (point, target or domain, seed, domain, images)
        if key not in self._rows:
            return None
        shard, index, written = self._rows[key]
        path = str(Path(shard).with_name("predictions.safetensors"))
        arrays = {name: _slice(path, f"{domain}/{images}/{name}", int(index)) for name in FIELDS}
        labels = _slice(path, f"{domain}/{images}/labels")
        if digest_arrays(labels, arrays) != written:
            raise SapError(
                f"{path} does not hold the predictions of its rows.jsonl. Run snakemake --forcerun evaluate: it keeps "
                "the good rows and computes the others again."
            )
        return {"labels": labels, **arrays}

    def held_out(self, point: str) -> list[Array] | None:
        """`correct` of a point on every target in turn; None where any is missing altogether."""
        return whole(self.correct(point, target) for target in self._targets)


def whole(found: Iterable[T | None]) -> list[T] | None:
    """All that was found; None where one is missing."""
    found = list(found)
    there = [one for one in found if one is not None]
    return there if len(there) == len(found) else None


@cache
def _open(path: str):
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="np")
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error


def _slice(path: str, name: str, index: int | None = None) -> np.ndarray:
    if index is None:
        return _open(path).get_tensor(name)
    return _open(path).get_slice(name)[index]


def draws_of(points: pd.DataFrame, point: str) -> list[str]:
    """The same point on every anchor draw of an experiment, in the order of the draws; itself where it has none."""
    if pd.isna(points.loc[point, "anchor_draw"]):
        return [point]
    return list(twins(points, point, "anchor_draw").dropna().sort_values(kind="stable").index)


def twins(points: pd.DataFrame, point: str, setting: str) -> pd.Series:
    """The value of one setting at every point that equals `point` in all the others, itself among them."""
    for name in points.columns.difference([*_NAMES, setting]):
        own = _comparable(points.loc[point, name])
        points = points[[_comparable(other) == own for other in points[name]]]
    return points[setting]


_NAMES = ["label", "views", "judged_on", "stages", "seeds", "needs", "family", "merge"]  # they decide no number


def _comparable(value: object) -> object:
    return "–" if value is None or value != value else value
