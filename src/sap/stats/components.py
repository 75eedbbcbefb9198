"""Where the spread of a number comes from: anchor draws, training seeds, test images and their interactions.

Values are one array per domain, (R, S, n_d): R anchor draws × S training seeds × n_d test images, all crossed, the
domains fixed. Draws and seeds are the same levels in every domain, images belong to one. Everything here is the closed
form of the balanced crossed random-effects analysis of variance (Searle, Casella & McCulloch 1992, chapter 4).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sap.stats.ties import snapped

UNSEEN = float(ndtri(0.975) ** 2)  # 3.84 images: how many may change, of a test set on which none did
WHOLE = 10  # differing images of full size that `unseen` has met before it meets any


class Terms(NamedTuple):
    """Mean squares over the number of values, so that each has the unit of Var(mean), with degrees of freedom.

    A factor with one level has no term: it and its interactions are 0 with 0 degrees of freedom.
    """

    draw: float
    seed: float
    draw_seed: float
    image: float
    draw_image: float
    seed_image: float
    draw_seed_image: float


def estimable(values: Sequence[NDArray]) -> bool:
    """Whether there are values, none is NaN, and each domain has at least two images; ValueError for unequal shapes."""
    if any(value.ndim != 3 or value.shape[:2] != values[0].shape[:2] for value in values):
        raise ValueError(f"each domain needs the same (draws, seeds, images), got {[value.shape for value in values]}")
    enough = all(value.shape[2] >= 2 and value.size > 0 for value in values)
    return len(values) > 0 and enough and not any(np.isnan(value).any() for value in values)


def crossed_terms(values: Sequence[NDArray]) -> tuple[Terms, Terms]:
    """(terms, their degrees of freedom) of the mean over domains; `values` (R, S, n_d) float per domain.

    Expected values, with v_x what component x adds to the variance of the mean: draw = v_a + v_ab + v_ac + v_abc,
    seed = v_b + v_ab + v_bc + v_abc, draw_seed = v_ab + v_abc, image = v_c + v_ac + v_bc + v_abc, and so on.
    Degrees of freedom of the image terms are Satterthwaite's, pooled over domains.
    """
    draws, seeds = values[0].shape[:2]
    table = np.mean([value.mean(axis=2) for value in values], axis=0)
    table = table - table.mean()
    draw, seed = table.mean(axis=1), table.mean(axis=0)
    levels = [
        _term(draw, draws - 1),
        _term(seed, seeds - 1),
        _term(table - draw[:, None] - seed, (draws - 1) * (seeds - 1)),
    ]
    per_domain = np.array([_image_terms(value) for value in values]) / [len(values) ** 2, 1]  # (D, 4, 2)
    terms, df = per_domain[..., 0], per_domain[..., 1]
    sums = terms.sum(axis=0)
    weights = np.divide(terms, sums, out=np.zeros_like(terms), where=sums > 0)
    inverse = np.divide(weights**2, df, out=np.zeros_like(terms), where=df > 0).sum(axis=0)
    pooled = np.divide(1, inverse, out=df.sum(axis=0), where=inverse > 0)
    squares, frees = zip(*levels, strict=True)
    return Terms(*squares, *sums.tolist()), Terms(*frees, *pooled.tolist())


def _image_terms(value: NDArray) -> list[tuple[float, float]]:
    """Terms of one domain's (R, S, n) that hold images: image, draw × image, seed × image, all three."""
    draws, seeds, images = value.shape
    value = value - value.mean(axis=2, keepdims=True)
    image = value.mean(axis=(0, 1))
    draw, seed = value.mean(axis=1) - image, value.mean(axis=0) - image
    rest = value - image - draw[:, None] - seed
    df = images - 1
    return [
        _term(image, df),
        _term(draw, df * (draws - 1)),
        _term(seed, df * (seeds - 1)),
        _term(rest, df * (draws - 1) * (seeds - 1)),
    ]


def _term(effects: NDArray, df: int) -> tuple[float, float]:
    """(mean square over the number of values, df) of one set of effects; (0, 0) where it has no freedom."""
    return (float(np.square(effects).mean() / df), float(df)) if df else (0.0, 0.0)


def standard_error(values: Sequence[NDArray]) -> tuple[float, float]:
    """(standard error of the mean over domains, degrees of freedom); `values` (R, S, n_d) float per domain, n_d ≥ 2.

    Var = max(draw + seed − draw_seed, (draw + seed)/2, floor/9)
        + max(image − draw_image − seed_image + draw_seed_image, 0)
    floor = max(draw_image + seed_image − draw_seed_image, draw_image, seed_image)

    Unbiased up to the bounds, which keep a difference of mean squares from going below what it is made of. The floor is
    what interactions with images make of Var, and all images tell it: where two methods differ on a handful of images,
    the few means of draws and of seeds can be equal by chance. A third of that standard error hardly moves coverage;
    half of it makes 97.4 % of 95 % where there are interactions only, all of it 98 %.
    Degrees of freedom: 1/df = s/df_levels + (1 − s)/df_image with s the share of draws and seeds in Var, without the
    floor, and df_levels Satterthwaite's. Plain Satterthwaite has s² and covers 92 % at nominal 95 % with three seeds
    that make 90 % of Var. Still too short where few draws and their interaction with seeds dominate: 92 % with 3 draws
    × 10 seeds and half of Var from draws, 91 % with 2 draws × 5 seeds and 60 % from draws (benchmarks/README.md has the
    usual cases).
    Where there is one seed (draw), its noise cannot be seen and is left out.
    """
    term, df = crossed_terms(values)
    both = term.draw + term.seed
    levels = max(both - term.draw_seed, both / 2) if df.draw_seed else both
    floor = max(term.draw_image + term.seed_image - term.draw_seed_image, term.draw_image, term.seed_image)
    image = max(term.image - term.draw_image - term.seed_image + term.draw_seed_image, 0.0)
    variance = max(levels, floor / 9) + image
    if variance == 0:
        return 0.0, np.inf
    parts = [(square / both) ** 2 / free for square, free in ((term.draw, df.draw), (term.seed, df.seed)) if square]
    share = levels / variance
    return float(np.sqrt(variance)), float(1 / (share * sum(parts) + (1 - share) / df.image))


def unseen(values: Sequence[NDArray]) -> tuple[float, float]:
    """(variance, size): what images that differ, but of which the sample has none or few, add to Var of the mean.

    `values` (R, S, n_d) per domain are answers or differences of answers: one image can change the mean of its domain
    by 1/n_d and no more. None of n images that differs excludes that more than about 3/n do: without the sample's own
    variance, UNSEEN of them is what the 95 % interval ± z √variance excludes (Wilson's score interval without its
    centre). They are images of the smallest domain, whose images weigh most, and the same images under every draw and
    seed: more trainings are not more images.

    variance = UNSEEN size², size = m / (D n_min). m² is the mean square of what a differing image does to the mean
    over draws and seeds, a share in [0, 1], over the observed ones and WHOLE that do all they can: 1 where none or
    few differ, and learned where many differ, most of them under few trainings. A differing image is one whose
    mean is not its domain's median. Beside k images that differ wholly, the interval is √(1 + 3.84/k) times as wide.
    """
    means = [value.mean(axis=(0, 1)) for value in values]
    moves = snapped(np.concatenate([mean - np.median(mean) for mean in means]))
    most = max(1.0, *(np.abs(mean).max() for mean in means))  # above 1 where domains are weighed
    share = (WHOLE * most**2 + np.square(moves).sum()) / (WHOLE + np.count_nonzero(moves))
    size = float(np.sqrt(share)) / (len(values) * min(value.shape[2] for value in values))
    return UNSEEN * size**2, size


def variance_components(values: Sequence[NDArray]) -> dict[str, float]:
    """Variances of what one draw and one seed give as mean over domains; `values` (R, S, n_d) answers per domain.

    draw: between anchor draws; seed: between training seeds, NaN where there is one level; image: of the test set, what
    the images add whatever the draw and seed; residual: all interactions. Each is clipped at 0. So the variance of one
    training's average is their sum. mean_se: the standard error of the mean over all draws and seeds, with `unseen`.
    Everything is NaN where the values are not `estimable`.
    """
    if not estimable(values):
        return dict.fromkeys(("draw", "seed", "image", "residual", "mean_se"), np.nan)
    draws, seeds = values[0].shape[:2]
    term, _ = crossed_terms(values)
    draw = max(term.draw - term.draw_seed - term.draw_image + term.draw_seed_image, 0.0)
    seed = max(term.seed - term.draw_seed - term.seed_image + term.draw_seed_image, 0.0)
    rest = term.draw_seed_image
    residual = draws * seeds * term.draw_seed + draws * (term.draw_image - rest) + seeds * (term.seed_image - rest)
    return {
        "draw": draws * draw if draws > 1 else np.nan,
        "seed": seeds * seed if seeds > 1 else np.nan,
        "image": max(term.image - term.draw_image - term.seed_image + term.draw_seed_image, 0.0),
        "residual": max(residual, 0.0),
        "mean_se": float(np.sqrt(standard_error(values)[0] ** 2 + unseen(values)[0])),
    }
