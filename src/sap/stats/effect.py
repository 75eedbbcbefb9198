"""One effect with its interval: a hierarchical bootstrap over anchor draws, training seeds and test images.

All of them are crossed: the same images are seen under every seed and draw. Resampling every factor on its own is the
pigeonhole bootstrap (Owen 2007; Owen & Eckles 2012). It counts interactions three times with two factors, more with
three, and k levels for (k − 1)/k of their variance; so its deviations keep their shape and are stretched to the
standard error of the crossed analysis of variance and a t quantile (Hesterberg 2015 does so for one factor). Domains
are fixed: a claim is about these.

A sample without variation is no certainty. What an image says has bounds, so the number of images bounds what was not
met: none of n images that differs excludes effects of 3.84/n and more, not all (sap.stats.components.unseen). Numbers
without bounds exclude nothing where they are all equal.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtrinc, ndtri, stdtr, stdtrit  # scipy.stats has them, too, and takes a second to import

from sap.stats.components import estimable, standard_error, unseen
from sap.stats.ties import snapped

CELLS = 4_000_000  # weights (resamples × images) held at once, 8 bytes each
GROUP = 8  # a group of equal images costs about as much to resample as this many images one by one
TEST, POWER = 0.05, 0.8  # of `detectable`: a two-sided test and its power
ANSWERS = (0.0, 1.0)  # bounds of shares of right answers
DIFFERENCES = (-1.0, 1.0)  # and of their differences


class Effect(NamedTuple):
    """An estimate and what it rests on, in the unit of the values (accuracies are shares, not %)."""

    estimate: float
    low: float
    high: float
    se: float
    df: float
    p_greater: float  # one-sided p of H1: effect > 0
    p_less: float  # one-sided p of H1: effect < 0
    detectable: float  # smallest |effect| that a two-sided 5 % test finds with 80 % power; beyond the bounds: none
    draws: int
    seeds: int
    images: int  # of all domains


MISSING_EFFECT = Effect._make([np.nan] * 8 + [0, 0, 0])


def crossed_effect(
    values: Sequence[NDArray],
    bounds: tuple[float, float] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Effect:
    """The mean over domains of `values`, (R, S, n_d) float per domain: R anchor draws × S training seeds × n_d images.

    A paired comparison comes as differences, for example correct_a − correct_b in {−1, 0, 1}. The interval has the
    given level. With one seed (draw) its noise cannot be estimated: the interval then holds for that one seed (draw).
    MISSING_EFFECT without values, where a value is NaN or a domain has fewer than two images.

    bounds: ANSWERS or DIFFERENCES where each value is what an image says. The interval then lies within them, and its
    width, p and `detectable` count the images that differ and were not met (`unseen`); an effect that is made by such
    images has at least their noise. None: values of any size, which tell of their own spread. Where they have none,
    being equal within each domain, they are taken as DIFFERENCES if they lie in there; else the standard error and
    `detectable` are infinite, the interval is (−∞, ∞) and both p are 0.5.
    """
    values = [snapped(value) for value in values]
    if not estimable(values):
        return MISSING_EFFECT
    draws, seeds = values[0].shape[:2]
    estimate = float(snapped(np.mean([value.mean() for value in values])))
    seen, df = (0.0, np.inf) if all(np.ptp(value) == 0 for value in values) else standard_error(values)
    if bounds is None and not seen and all(np.abs(value).max() <= 1 for value in values):
        bounds = DIFFERENCES
    extra, size = unseen(values) if bounds else (0.0 if seen else np.inf, 0.0)
    se = float(np.sqrt(seen**2 + extra))
    z = ndtri((1 + level) / 2)
    reach = np.zeros(2)  # to the lower and to the upper end, by what was seen
    if seen:
        deviations = pigeonhole_means(values, resamples, seed) - estimate
        stretch = seen / np.sqrt(np.mean(deviations**2)) * stdtrit(df, (1 + level) / 2) / z
        reach = stretch * np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
        df *= (se / seen) ** 2  # Satterthwaite's, beside a variance that n alone gives
    low, high = estimate + np.array([-1, 1]) * np.hypot(reach, z * np.sqrt(extra))
    if bounds:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    bare = Effect(estimate, float(low), float(high), se, df, np.nan, np.nan, np.nan, draws, seeds, 0)
    return bare._replace(
        p_greater=p_above(bare, 0.0),
        p_less=p_below(bare, 0.0),
        detectable=_detectable(se, df, extra, size),
        images=sum(value.shape[2] for value in values),
    )


def pigeonhole_means(values: Sequence[NDArray], resamples: int, seed: int) -> NDArray:
    """(resamples,) means of `values`, (R, S, n_d) per domain, with draws, seeds and images resampled on their own.

    One resampling of draws and seeds serves all domains, images are resampled within each. Images with equal values
    are resampled as one group, which is the same distribution and makes {−1, 0, 1} cheap.
    """
    rng = np.random.default_rng(seed)
    draws, seeds = values[0].shape[:2]
    levels = [rng.multinomial(k, np.full(k, 1 / k), size=resamples) / k for k in (draws, seeds)]
    pairs = (levels[0][:, :, None] * levels[1][:, None]).reshape(resamples, -1)
    means = np.zeros(resamples)
    for value in values:
        images = value.shape[2]
        columns = value.reshape(-1, images)
        groups, counts = np.unique(columns, axis=1, return_counts=True)
        grouped = counts.size * GROUP < images
        rows = max(1, CELLS // images)
        for start in range(0, resamples, rows):
            chunk = slice(start, min(start + rows, resamples))
            size = chunk.stop - start
            if grouped:
                sums = rng.multinomial(images, counts / images, size=size) @ groups.T
            else:
                drawn = rng.integers(images, size=(size, images)) + images * np.arange(size)[:, None]
                sums = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(size, images) @ columns.T
            means[chunk] += (sums / images * pairs[chunk]).sum(axis=1)
    return means / len(values)


def p_above(effect: Effect, margin: float) -> float:
    """One-sided p of H1: effect > margin, by the effect's t distribution; NaN where missing."""
    return _tail(effect, effect.estimate - margin)


def p_below(effect: Effect, margin: float) -> float:
    """One-sided p of H1: effect < margin, as `p_above`."""
    return _tail(effect, margin - effect.estimate)


def p_within(effect: Effect, margin: float) -> float:
    """p of H1: |effect| < margin, two one-sided tests (Schuirmann 1987): the larger of their p."""
    return float(np.maximum(p_above(effect, -margin), p_below(effect, margin)))


def _tail(effect: Effect, excess: float) -> float:
    return float(stdtr(effect.df, -excess / effect.se)) if not np.isnan(effect.se) else np.nan


def _detectable(se: float, df: float, extra: float, size: float) -> float:
    """Noncentrality × se; more where the images that make such an effect, `size` each, have more noise than was seen.

    δ² = c² (extra + size δ): the variance of δ / size images of that size is size δ. It holds where that is more.
    """
    c = float(nctdtrinc(min(df, 1e6), 1 - POWER, stdtrit(df, 1 - TEST / 2)))
    half = c**2 * size / 2
    return max(c * se, half + float(np.sqrt(half**2 + c**2 * extra)))
