"""How far the masks that one client gets from different anchors agree, and where the entries that they keep lie.

A source is what the scores come from: a draw of the anchors with a set's size, or `magnitude`, which reads no anchors.
Masks are those of sap.prune with unit `entry` and count `floor`: the same cuts, the same ties.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from sap.selection import find_cuts, floor_share, kept

SPEARMAN_ENTRIES = 2_000_000  # of a layer: a correlation drawn from so many has a standard error below 0.001


def mask_agreement(layers: Iterable[Mapping[Any, Tensor]], ratios: Sequence[float], seed: int) -> list[dict[str, Any]]:
    """Rows ratio, source_a, source_b, jaccard, chance, spearman for every pair of sources, in their order.

    `layers`: one layer of a client at a time, source -> score of each entry, (m, n) floats ≥ 0, larger = keep.

    jaccard: |both keep| / |one keeps| of the masks that drop the lowest ⌊ρN⌋ of each layer's N entries; NaN where no
    entry is kept. chance: (1 − ρ) / (1 + ρ), its value for independent masks. spearman: rank correlation of the scores,
    over at most SPEARMAN_ENTRIES of a layer, drawn from `seed`; NaN where a score is constant. Both are means over
    layers, weighted by their entries; layers where they are NaN are left out.
    """
    rng = np.random.default_rng(seed)
    jaccards, spearmans, entries = [], [], []
    for scores in layers:
        sources = list(scores)
        jaccards.append([_jaccards(masks) for masks in _masks(scores.values(), ratios)])
        spearmans.append(_spearmans(scores.values(), rng))
        entries.append(next(iter(scores.values())).numel())
    jaccard, spearman = _mean(jaccards, entries), _mean(spearmans, entries)
    return [
        {
            "ratio": ratio,
            "source_a": sources[a],
            "source_b": sources[b],
            "jaccard": float(jaccard[i, a, b]),
            "chance": (1 - ratio) / (1 + ratio),
            "spearman": float(spearman[a, b]),
        }
        for i, ratio in enumerate(ratios)
        for a, b in combinations(range(len(sources)), 2)
    ]


def kept_by_layer(scores: Mapping[str, Tensor], ratios: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Rows ratio, layer, entries, kept where one threshold for the whole model drops the lowest ⌊ρN⌋ of all N entries.

    `scores`: layer -> (m, n); all layers together, because all compete. `kept` is a number of entries.
    """
    total = sum(score.numel() for score in scores.values())
    cuts = find_cuts(list(scores.values()), [floor_share(ratio, total) for ratio in ratios])
    for ratio, cut in zip(ratios, cuts, strict=True):
        for position, (layer, score) in enumerate(scores.items()):
            number = int(kept(score, cut, position).sum())
            yield {"ratio": ratio, "layer": layer, "entries": score.numel(), "kept": number}


def _masks(scores: Collection[Tensor], ratios: Sequence[float]) -> Iterator[list[np.ndarray]]:
    """For each ρ what each score keeps, (N,) booleans."""
    cuts = [find_cuts([score], [floor_share(ratio, score.numel()) for ratio in ratios]) for score in scores]
    for found in zip(*cuts, strict=True):
        yield [kept(score, cut).flatten().numpy() for score, cut in zip(scores, found, strict=True)]


def _jaccards(masks: list[np.ndarray]) -> np.ndarray:
    """Jaccard index of all pairs, (S, S)."""
    found = np.ones((len(masks), len(masks)))
    for a, b in combinations(range(len(masks)), 2):
        either = np.count_nonzero(masks[a] | masks[b])
        found[a, b] = found[b, a] = np.count_nonzero(masks[a] & masks[b]) / either if either else np.nan
    return found


def _spearmans(scores: Iterable[Tensor], rng: np.random.Generator) -> np.ndarray:
    """Spearman's ρ of all pairs, (S, S): Pearson's of the ranks, which are found once for each source."""
    flat = [score.flatten().numpy() for score in scores]
    if len(flat[0]) > SPEARMAN_ENTRIES:
        drawn = rng.choice(len(flat[0]), SPEARMAN_ENTRIES, replace=False, shuffle=False)
        flat = [score[drawn] for score in flat]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef([rankdata(score) for score in flat])


def _mean(values: list, weights: list[int]) -> np.ndarray:
    """Weighted mean over the first axis, without NaN; NaN where nothing else is."""
    mean: Any = np.ma.average(np.ma.masked_invalid(values), axis=0, weights=weights)
    return mean.filled(np.nan)
