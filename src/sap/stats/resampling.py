"""Many models on the same images and seeds: their mean accuracies under one resampling that all of them share.

Seeds and images are resampled on their own, images within each domain, as in sap.stats.effect (the pigeonhole
bootstrap, Owen 2007). One resampling serves all models, so ranks, the best of them and differences to it have
intervals, too.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def resampled_means(correct: Sequence[NDArray], resamples: int = 1000, seed: int = 0) -> Array:
    """(resamples, M) mean over domains of the accuracies of M models; `correct`: (M, S, n_d) of 0 and 1 per domain."""
    rng = np.random.default_rng(seed)
    n_models, n_seeds = correct[0].shape[:2]
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=resamples) / n_seeds  # (R, S)
    means = np.zeros((resamples, n_models))
    for domain in correct:
        n = domain.shape[2]
        images = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float32) / n  # (R, n)
        by_seed = (domain.reshape(-1, n).astype(np.float32) @ images.T).reshape(n_models, n_seeds, resamples)
        means += np.einsum("msr,rs->rm", by_seed, seeds)
    return means / len(correct)


def ranks(values: Array) -> Array:
    """Ranks along the last axis, 1 is the largest value; equal values share the mean of their ranks."""
    from scipy.stats import rankdata  # takes a second to import, and few ask

    return np.asarray(rankdata(-values, axis=-1))


def rank_correlation(a: Array, b: Array) -> Array:
    """Spearman's correlation along the last axis: Pearson's of the ranks; NaN where one side is all equal."""
    a, b = ranks(a), ranks(b)
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.divide((a * b).sum(axis=-1), size, out=np.full(size.shape, np.nan), where=size > 0)


def interval_of(samples: NDArray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of (R, ) resamples."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
