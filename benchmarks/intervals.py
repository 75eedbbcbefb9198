"""How often the intervals of `sap.stats.effect` hold the truth, and what the rule of the verdicts says of made data.

    python benchmarks/intervals.py --trials 2000

Made data: three domains, (draws, seeds, 60 images) each. The noise of a training seed, an anchor draw, an image and
their interactions is normal, or, in "binary", two methods' right or wrong answers from a latent margin with the same
noises. "plain" is the percentile interval of the same bootstrap without the correction. "found" is how often an effect
of the size that `Effect.detectable` names (its root mean square over the trials) is found by the interval: 80 % is
meant. Every trial makes fresh data. One standard error of a share of 95 % at 2,000 trials is 0.5 points.

"rare": two methods that differ on few images or on none. Three domains with 1/2, 3/10 and 1/5 of all images; every
image differs with the same probability, so that the given number is expected. "steady" images differ under every draw
and seed; "crowded" ones, too, but they all lie in the smallest domain, where an image weighs most; those of "now and
then" differ under half of the trainings; "beside flicker" are steady ones beside 30 expected images that each differ
under one training in ten, either way. "one way": all for the same method, so the truth is not 0; "both ways": it is.
"half" is the median half-width of the interval, in images of all; "bare" is the coverage without the images that were
not met. A quarter of the trials.
"""

import argparse
from collections import Counter
from functools import partial
from itertools import product

import numpy as np

from sap.stats.effect import DIFFERENCES, crossed_effect, pigeonhole_means
from sap.stats.verdict import VERDICTS, Part, p_of_claim, verdict

DOMAINS, IMAGES = 3, 60
# standard deviations of: draw, seed, image, seed × image, everything × image
REGIMES = {
    "images only": (0, 0, 1, 0, 0),
    "images and their interactions": (0, 0, 1, 1, 1),
    "interactions only": (0, 0, 0, 0, 1),
    "seeds only": (0, 1, 0, 0, 0.01),
    "mixed, weak seeds": (0, 0.09, 1, 0.5, 0.5),
    "mixed, strong seeds": (0, 0.4, 1, 0.5, 0.5),
    "mixed, draws too": (0.07, 0.07, 1, 0.5, 0.5),
}
BINARY = {"binary, images only": 0.0, "binary, weak seeds": 0.1, "binary, strong seeds": 0.3}
RARE = (
    "steady, one way",
    "steady, both ways",
    "crowded, one way",
    "now and then, one way",
    "beside flicker, one way",
)
PARTS = (0.5, 0.3, 0.2)  # of the images, by domain
FLICKER = 30
DESIGNS = [(1, 3), (1, 5), (1, 10), (3, 3), (3, 5), (3, 10)]


def made_values(rng: np.random.Generator, draws: int, seeds: int, noise: tuple, images: int = IMAGES) -> list:
    """Values of mean 0, (draws, seeds, images) for each domain."""
    draw, seed, image, seed_image, rest = noise
    levels = draw * rng.normal(size=(draws, 1, 1)) + seed * rng.normal(size=(1, seeds, 1))
    return [
        levels
        + image * rng.normal(size=images)
        + seed_image * rng.normal(size=(seeds, images))
        + rest * rng.normal(size=(draws, seeds, images))
        for _ in range(DOMAINS)
    ]


def made_answers(rng: np.random.Generator, draws: int, seeds: int, noise: float) -> list:
    """correct_a − correct_b of two methods that are equally good, about 60 % right."""
    level = noise * rng.normal(size=(2, 1, seeds, 1))
    level = level + (noise / 2 * rng.normal(size=(2, draws, 1, 1)) if draws > 1 else 0)
    values = []
    for _ in range(DOMAINS):
        hardness = 0.4 + 1.5 * rng.normal(size=IMAGES)
        right = hardness + level + rng.normal(size=(2, draws, seeds, IMAGES)) > 0
        values.append(right[0].astype(float) - right[1])
    return values


def rare_answers(rng: np.random.Generator, draws: int, seeds: int, images: int, expected: float, kind: str) -> list:
    """correct_a − correct_b, (draws, seeds, images of a domain) each, where `expected` images of all differ."""
    values = []
    for part in PARTS:
        n = round(part * images)
        differs = rng.random(n) < rare_share(images, expected, kind, part)
        sign = rng.choice([-1, 1], size=n) if "both" in kind else 1
        often = 0.5 if "now" in kind else 1.0
        value = differs * sign * (rng.random((draws, seeds, n)) < often) * 1.0
        if "flicker" in kind:
            flickers = ~differs & (rng.random(n) < FLICKER / images)
            value += flickers * rng.choice([-1, 1], size=n) * (rng.random((draws, seeds, n)) < 0.1)
        values.append(value)
    return values


def rare_share(images: int, expected: float, kind: str, part: float) -> float:
    """How likely an image of the domain with this part of all images differs."""
    if "crowded" in kind:
        return expected / (part * images) if part == PARTS[-1] else 0.0
    return expected / images


def rare_truth(images: int, expected: float, kind: str) -> float:
    """Mean over domains of what the differing images do under a mean training."""
    size = 0.0 if "both" in kind else 0.5 if "now" in kind else 1.0
    return size * float(np.mean([rare_share(images, expected, kind, part) for part in PARTS]))


def rare_coverage(make, truth: float, images: int, trials: int, resamples: int) -> list[float]:
    """[coverage without what was not met, coverage of ours (%), median half-width in images]."""
    bare, held, widths = 0, 0, []
    for trial in range(trials):
        values = make(np.random.default_rng(trial))
        effect = crossed_effect(values, DIFFERENCES, resamples=resamples, seed=trial)
        held += effect.low <= truth <= effect.high
        widths.append(images * (effect.high - effect.low) / 2)
        if any(np.ptp(value) > 0 for value in values):
            effect = crossed_effect(values, resamples=resamples, seed=trial)
            bare += effect.low <= truth <= effect.high
        else:
            bare += truth == 0
    return [100 * bare / trials, 100 * held / trials, float(np.median(widths))]


def coverage(make, bounds: tuple[float, float] | None, trials: int, resamples: int) -> list[float]:
    """[coverage of plain, of ours, share of effects of the detectable size that are found], %."""
    effects, plain = [], 0
    for trial in range(trials):
        values = make(np.random.default_rng(trial))
        effects.append(crossed_effect(values, bounds, resamples=resamples, seed=trial))
        low, high = np.quantile(pigeonhole_means(values, resamples, trial), [0.025, 0.975])
        plain += low <= 0 <= high
    size = np.sqrt(np.mean([effect.detectable**2 for effect in effects]))
    held = np.mean([effect.low <= 0 <= effect.high for effect in effects])
    found = np.mean([effect.low + size > 0 or effect.high + size < 0 for effect in effects])
    return [100 * plain / trials, 100 * held, 100 * found]


def verdicts(kind: str, truth: float, images: int, trials: int, resamples: int) -> list[float]:
    """Share of each verdict, %, for one part with margin 0.1, five seeds and "mixed" noise."""
    told = Counter()
    for trial in range(trials):
        noise = REGIMES["mixed, weak seeds"]
        values = made_values(np.random.default_rng(trial), 1, 5, (0, noise[1] / 4, *noise[2:]), images)
        part = Part("made", crossed_effect([value + truth for value in values], resamples=resamples), kind, 0.1)
        told[verdict([part], "all", p_of_claim([part], "all"))] += 1
    return [100 * told[name] / trials for name in VERDICTS[:3]]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=500)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Rows are printed as they come: the whole takes minutes."""
    print("| noise | draws | seeds | plain, % | ours, % | found, % |\n|:--|--:|--:|--:|--:|--:|", flush=True)
    for name in (*REGIMES, *BINARY):
        maker, noise = (made_values, REGIMES[name]) if name in REGIMES else (made_answers, BINARY[name])
        for draws, seeds in DESIGNS:
            if name == "mixed, draws too" and draws == 1:
                continue  # the noise of a single draw cannot be seen
            make, bounds = (
                partial(maker, draws=draws, seeds=seeds, noise=noise),
                DIFFERENCES if name in BINARY else None,
            )
            found = coverage(make, bounds, args.trials, args.resamples)
            print(f"| {name} | {draws} | {seeds} | " + " | ".join(f"{x:.1f}" for x in found) + " |", flush=True)
    head = "| rare | images | draws | seeds | expected | bare, % | ours, % | half |\n|:--|--:|--:|--:|--:|--:|--:|--:|"
    print(f"\n{head}", flush=True)
    for kind, images, (draws, seeds), expected in product(RARE, (50, 500, 5000), ((1, 1), (3, 5)), (0, 1, 2, 4, 8)):
        if "flicker" in kind and (images < 500 or seeds == 1):
            continue
        make = partial(rare_answers, draws=draws, seeds=seeds, images=images, expected=expected, kind=kind)
        truth = rare_truth(images, expected, kind)
        found = rare_coverage(make, truth, images, args.trials // 4, args.resamples)
        cell = " | ".join(f"{x:.1f}" for x in found)
        print(f"| {kind} | {images} | {draws} | {seeds} | {expected} | {cell} |", flush=True)
    print(f"\n| claim | truth | images a domain | {' | '.join(VERDICTS[:3])} |\n|:--|--:|--:|--:|--:|--:|", flush=True)
    for kind, truth, images in product(("greater", "within"), (0.0, 0.1, 0.2), (20, 2000)):
        told = verdicts(kind, truth, images, args.trials // 4, args.resamples)
        print(f"| {kind} | {truth} | {images} | " + " | ".join(f"{x:.1f}" for x in told) + " |", flush=True)


if __name__ == "__main__":
    main(parse_args())
