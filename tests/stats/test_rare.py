"""Few images that differ, or none: what n excludes, and no more. Poisson's and binomial bounds are the yardstick."""

import numpy as np
import pytest
from scipy import stats

from sap.stats.components import UNSEEN
from sap.stats.effect import ANSWERS, DIFFERENCES, crossed_effect, p_within
from sap.stats.paired import detectable_difference
from sap.stats.rliable import stratified_interval
from sap.stats.verdict import Part, p_of_claim, verdict

SIZES = (50, 99, 500, 5000)


def told(effect, kind, margin=0.01):
    parts = [Part("made", effect, kind, margin)]
    return verdict(parts, "all", p_of_claim(parts, "all"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 5)])
def test_no_differing_image_of_n_excludes_what_wilson_and_the_rule_of_three_exclude(images, shape):
    """More draws and seeds see the same images: they exclude nothing more."""
    effect = crossed_effect([np.zeros((*shape, images))], DIFFERENCES)
    assert effect.estimate == 0
    assert (effect.low, effect.high) == pytest.approx((-UNSEEN / images, UNSEEN / images))
    exact = -np.log(0.025) / images  # above this rate, none of n is met in less than 2.5 % of the samples
    assert exact < effect.high < 1.05 * exact
    assert effect.p_greater == effect.p_less == 0.5
    assert effect.high < effect.detectable < 11 / images


@pytest.mark.parametrize(("images", "refuted", "absent"), [(99, False, False), (330, False, True), (400, True, True)])
def test_equal_predictions_refute_an_effect_of_one_point_where_they_are_enough(images, refuted, absent):
    effect = crossed_effect([np.zeros((3, 5, images))], DIFFERENCES)
    expected = "refuted" if refuted else "underpowered"
    assert [told(effect, kind) for kind in ("greater", "less")] == [expected, expected]
    assert told(effect, "within") == ("supported" if absent else "underpowered")
    assert 0 < p_within(effect, 0.01) < 1


def test_equal_predictions_of_several_domains_exclude_what_the_smallest_one_does():
    """All images that differ could lie there, where each moves the mean over domains most."""
    effect = crossed_effect([np.zeros((1, 3, images)) for images in (40, 400, 4000)], DIFFERENCES)
    assert effect.high == -effect.low == pytest.approx(UNSEEN / (3 * 40))


def test_answers_that_are_all_right_have_wilsons_lower_end_and_none_above_one():
    effect = crossed_effect([np.ones((1, 3, 200))], ANSWERS)
    assert effect[:3] == (1, pytest.approx(1 - UNSEEN / 200), 1)
    assert effect.low == pytest.approx(stats.binomtest(200, 200).proportion_ci(method="wilson").low, abs=0.001)
    wrong = crossed_effect([np.zeros((1, 3, 200))], ANSWERS)
    assert (wrong.low, wrong.high) == pytest.approx((0, 1 - effect.low))


def rare(rng, shape, sizes, expected, kind, crowded):
    """correct_a − correct_b with `expected` differing images in all, or in the last and smallest domain (`crowded`)."""
    values = []
    for place, images in enumerate(sizes):
        share = expected / sum(sizes) if not crowded else expected / images * (place == len(sizes) - 1)
        sign = rng.choice([-1, 1], size=images) if kind == "both ways" else 1
        often = rng.random((*shape, images)) < (0.5 if kind == "now and then" else 1)
        values.append((rng.random(images) < share) * sign * often * 1.0)
    truth = expected / sum(sizes) if not crowded else expected / sizes[-1] / len(sizes)
    return values, truth * {"both ways": 0, "now and then": 0.5, "steady": 1}[kind]


@pytest.mark.parametrize("kind", ["steady", "both ways", "now and then"])
@pytest.mark.parametrize("sizes", [(50,), (2000,), (250, 150, 100)])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_intervals_hold_the_truth_where_none_or_few_images_differ(kind, sizes, shape):
    """30 trials for each number of expected images; 150 together have a standard error of 1.8 points."""
    held = []
    for expected in (0.5, 1, 2, 3.5, 6):
        for trial in range(30):
            rng = np.random.default_rng([trial, *shape, *sizes])
            values, truth = rare(rng, shape, sizes, expected, kind, crowded=trial % 2 == 1)
            effect = crossed_effect(values, DIFFERENCES, resamples=100, seed=trial)
            held.append(effect.low <= truth <= effect.high)
    assert np.mean(held) >= 0.92


def test_without_what_was_not_met_they_would_not_have_held_it():
    held = []
    for trial in range(200):
        values, truth = rare(np.random.default_rng(trial), (1, 3), (500,), 2, "steady", crowded=False)
        effect = crossed_effect(values, resamples=100, seed=trial) if values[0].any() else None
        held.append(effect is not None and effect.low <= truth <= effect.high)
    assert np.mean(held) < 0.9


def half_width(values, bounds):
    effect = crossed_effect(values, bounds)
    return (effect.high - effect.low) / 2


@pytest.mark.parametrize(("differ", "most"), [(20, 1.10), (50, 1.04), (200, 1.011)])
def test_nothing_that_is_noticed_changes_where_many_images_differ(differ, most):
    value = np.zeros((3, 5, 2000))
    value[..., :differ] = np.where(np.arange(differ) % 2, 1, -1)
    assert 1 < half_width([value], DIFFERENCES) / half_width([value], None) < most


def test_many_images_that_differ_under_few_trainings_each_are_many():
    value = (np.random.default_rng(0).random((3, 5, 300)) < 0.1) * np.where(np.arange(300) % 2, 1, -1) * 1.0
    assert half_width([value], DIFFERENCES) / half_width([value], None) < 1.05


def test_one_image_that_differs_gives_about_poissons_interval():
    for images in SIZES:
        value = np.zeros((1, 5, images))
        value[..., 0] = 1
        effect = crossed_effect([value], DIFFERENCES)
        assert images * effect.high == pytest.approx(stats.chi2.ppf(0.975, 4) / 2, rel=0.06)  # 5.57
        assert effect.low < 0 < effect.p_greater < 0.5 < effect.p_less < 1


def test_p_and_the_interval_agree_on_one_and_the_same_standard_error():
    for differ in range(1, 30):
        value = np.zeros((1, 1, 1000))
        value[..., :differ] = 1
        effect = crossed_effect([value], DIFFERENCES)
        surely = 2 * effect.p_greater
        assert (effect.low > 0) == (surely < 0.05) or 0.03 < surely < 0.07  # the interval has the bootstrap's shape


def test_an_effect_of_the_detectable_size_is_found_four_times_in_five_or_more():
    """None of 1,000 images differed; now as many do, all one way, as the detectable effect needs."""
    size = crossed_effect([np.zeros((1, 3, 1000))], DIFFERENCES).detectable
    found = []
    for trial in range(150):
        value = np.repeat(np.random.default_rng(trial).random((1, 1, 1000)) < size, 3, axis=1) * 1.0
        found.append(crossed_effect([value], DIFFERENCES, resamples=100, seed=trial).low > 0)
    assert 0.8 <= np.mean(found) <= 0.97


def test_mcnemars_detectable_difference_of_models_that_differ_nowhere_is_about_eight_images():
    assert detectable_difference(1000, 0.0) == pytest.approx(7.849e-3, rel=1e-3)
    assert detectable_difference(1000, 0.001) == detectable_difference(1000, 0.0)
    assert detectable_difference(0, 0.0) == np.inf
    differ = np.arange(40)
    surely = [bool(b) and stats.binomtest(int(b), int(b)).pvalue < 0.05 for b in differ]
    assert stats.binom.pmf(differ, 1000, detectable_difference(1000, 0.0)) @ surely > 0.77


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("x", [7.3, -40.0, 1.1 + 2.2])
def test_equal_numbers_without_bounds_exclude_nothing(x):
    """Per-client units: four clients that are equal say nothing of a fifth, and float noise is no spread."""
    values = np.full((3, 5, 4), x)
    values[0, 0, 0] = np.nextafter(x, np.inf)
    effect = crossed_effect([values])
    assert effect[1:5] == (-np.inf, np.inf, np.inf, np.inf)
    assert (effect.p_greater, effect.p_less, effect.detectable) == (0.5, 0.5, np.inf)
    assert {told(effect, kind) for kind in ("greater", "less", "within")} == {"underpowered"}


@pytest.mark.parametrize("x", [0.1, 0.0, 0.1 + 0.2 - 0.3])
def test_equal_shares_are_taken_as_what_units_say(x):
    values = np.full((3, 5, 200), x)
    values[0, 0, 0] += 1e-17
    assert crossed_effect([values]) == crossed_effect([values], DIFFERENCES)


def test_one_seed_or_equal_seeds_have_no_bootstrap_interval():
    assert stratified_interval([[0.3, 0.7]]) == (-np.inf, np.inf)
    assert stratified_interval([[0.3, 0.7], [0.1 + 0.2, 0.7]]) == (-np.inf, np.inf)
    low, high = stratified_interval([[0.3, 0.7], [0.3, 0.8]])
    assert np.isfinite([low, high]).all()
