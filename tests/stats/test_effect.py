"""Effects: intervals that hold what they say, on made data with known truth, and closed forms."""

import numpy as np
import pytest
from scipy import stats

from sap.stats.components import crossed_terms, standard_error, variance_components
from sap.stats.effect import MISSING_EFFECT, crossed_effect, p_above, p_below, p_within, pigeonhole_means


def make(rng, shape, images, draw=0.0, seed=0.0, image=0.0, rest=0.0, domains=2):
    """Values of mean 0: normal noise of each factor, levels shared by the domains."""
    draws, seeds = shape
    levels = draw * rng.normal(size=(draws, 1, 1)) + seed * rng.normal(size=(1, seeds, 1))
    return [
        levels + image * rng.normal(size=images) + rest * rng.normal(size=(draws, seeds, images))
        for _ in range(domains)
    ]


def make_binary(rng, shape, images, seed=0.0, domains=2):
    """correct_a − correct_b of two equally good methods, about 60 % right, whose hard images are the same."""
    draws, seeds = shape
    level = seed * rng.normal(size=(2, 1, seeds, 1)) + (
        seed / 2 * rng.normal(size=(2, draws, 1, 1)) if draws > 1 else 0
    )
    right = [
        0.4 + 1.5 * rng.normal(size=images) + level + rng.normal(size=(2, draws, seeds, images)) > 0
        for _ in range(domains)
    ]
    return [a.astype(float) - b for a, b in right]


REGIMES = {
    "images": lambda rng, shape: make(rng, shape, 50, image=1),
    "seeds": lambda rng, shape: make(rng, shape, 50, seed=1, rest=0.01),
    "mixed": lambda rng, shape: make(rng, shape, 50, draw=0.1 * (shape[0] > 1), seed=0.15, image=1, rest=0.7),
    "binary": lambda rng, shape: make_binary(rng, shape, 50, seed=0.3),
}


def covered(make_values, shape, trials):
    """Share of the trials whose interval holds 0, the truth, with the default number of resamples."""
    held = 0
    for trial in range(trials):
        effect = crossed_effect(make_values(np.random.default_rng([*shape, trial]), shape), seed=trial)
        held += effect.low <= 0 <= effect.high
    return held / trials


@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_of_five_seeds_hold_the_truth_about_95_times_in_100(regime):
    """300 trials: one standard error is 1.3 points, so the band is three of them."""
    assert 0.91 <= covered(REGIMES[regime], (1, 5), 300) <= 0.99


@pytest.mark.ci
@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_hold_the_truth_with_few_and_many_seeds_and_with_anchor_draws(regime):
    """One standard error is 1 point for each shape (500 trials), 0.56 for the three together."""
    found = [covered(REGIMES[regime], shape, 500) for shape in ((1, 3), (1, 10), (3, 3))]
    assert min(found) >= 0.915
    assert max(found) <= 0.985
    assert 0.93 <= np.mean(found) <= 0.97


def test_the_plain_bootstrap_would_not_have_held_it_with_three_seeds():
    held = 0
    for trial in range(200):
        values = REGIMES["seeds"](np.random.default_rng(trial), (1, 3))
        low, high = np.quantile(pigeonhole_means(values, 300, trial), [0.025, 0.975])
        held += low <= 0 <= high
    assert held / 200 < 0.85


def test_seed_noise_alone_gives_the_t_test_of_the_seed_means():
    rng = np.random.default_rng(0)
    values = [np.repeat(rng.normal(0.3, 1, size=(1, 6, 1)), 40, axis=2)]
    effect, expected = crossed_effect(values), stats.ttest_1samp(values[0][0, :, 0], 0)
    assert effect.df == pytest.approx(5)
    assert effect.se == pytest.approx(stats.sem(values[0][0, :, 0]))
    assert effect.p_greater + effect.p_less == pytest.approx(1)
    assert 2 * min(effect.p_greater, effect.p_less) == pytest.approx(expected.pvalue)


def test_one_seed_and_one_draw_give_the_t_test_over_images():
    x = np.random.default_rng(1).normal(0.1, 1, size=(1, 1, 200))
    effect, interval = crossed_effect([x], resamples=4000), stats.ttest_1samp(x.ravel(), 0).confidence_interval()
    assert (effect.se, effect.df) == pytest.approx((stats.sem(x.ravel()), 199))
    assert (effect.low, effect.high) == pytest.approx(tuple(interval), abs=0.1 * effect.se)
    assert (effect.draws, effect.seeds, effect.images) == (1, 1, 200)


def test_domains_count_alike_whatever_their_size_and_their_images_are_independent():
    rng = np.random.default_rng(2)
    values = [rng.normal(size=(1, 1, 30)), rng.normal(1, 2, size=(1, 1, 300))]
    effect = crossed_effect(values)
    assert effect.estimate == pytest.approx((values[0].mean() + values[1].mean()) / 2)
    assert effect.se == pytest.approx(np.hypot(*[stats.sem(v.ravel()) for v in values]) / 2)
    welch = stats.ttest_ind(values[0].ravel(), values[1].ravel(), equal_var=False)
    assert effect.df == pytest.approx(welch.df)
    assert effect.images == 330


def test_a_constant_added_to_all_values_moves_the_interval_by_it():
    values = make(np.random.default_rng(3), (3, 5), 40, 0.1, 0.1, 1, 1)
    a, b = crossed_effect(values), crossed_effect([v + 0.25 for v in values])
    assert np.subtract(b[:3], a[:3]) == pytest.approx(0.25)
    assert b[3:5] == pytest.approx(a[3:5])
    assert p_above(b, 0.25) == pytest.approx(a.p_greater)


def test_the_same_seed_gives_the_same_interval_bit_for_bit():
    values = make(np.random.default_rng(4), (1, 5), 40, seed=0.1, image=1)
    assert crossed_effect(values, seed=7) == crossed_effect(values, seed=7)
    assert crossed_effect(values, seed=7).low != crossed_effect(values, seed=8).low


@pytest.mark.parametrize("levels", [2, 1000], ids=["groups of equal images", "images one by one"])
def test_resampled_means_have_the_pigeonhole_variance(levels):
    """Images alone: variance (population) / n. Both ways of drawing images must give it, and the mean."""
    values = [np.random.default_rng(5).integers(levels, size=(1, 1, 400)) / levels]
    means = pigeonhole_means(values, 20_000, 0)
    assert means.mean() == pytest.approx(values[0].mean(), abs=5 * values[0].std() / 20 / np.sqrt(20_000))
    assert means.var() == pytest.approx(values[0].var() / 400, rel=0.05)


def test_chunks_of_resamples_do_not_change_what_is_drawn_on_average(monkeypatch):
    values = make(np.random.default_rng(6), (2, 3), 100, image=1, rest=1)
    whole = pigeonhole_means(values, 4000, 0)
    monkeypatch.setattr("sap.stats.effect.CELLS", 700)
    parts = pigeonhole_means(values, 4000, 0)
    assert parts.std() == pytest.approx(whole.std(), rel=0.06)
    assert parts.mean() == pytest.approx(whole.mean(), abs=5 * whole.std() / np.sqrt(4000))


@pytest.mark.filterwarnings("error")
def test_values_without_spread_over_images_or_over_seeds_are_no_special_case():
    rng = np.random.default_rng(7)
    same_seeds = [np.repeat(rng.normal(size=(1, 1, 50)), 4, axis=1)]
    assert crossed_effect(same_seeds).se == pytest.approx(stats.sem(same_seeds[0][0, 0]))
    one_domain_equal = [np.zeros((1, 3, 20)), rng.normal(size=(1, 3, 20))]
    assert crossed_effect(one_domain_equal).se > 0


def is_missing(effect):
    return np.isnan(effect[:8]).all() and effect[8:] == (0, 0, 0)


def test_what_cannot_be_estimated_is_missing():
    values = make(np.random.default_rng(8), (1, 3), 20, image=1)
    values[1][0, 1, 3] = np.nan
    assert is_missing(crossed_effect(values))
    assert is_missing(crossed_effect([]))
    assert is_missing(crossed_effect([np.ones((1, 3, 1))]))
    assert is_missing(crossed_effect([np.ones((1, 0, 5))]))
    assert np.isnan([p_above(MISSING_EFFECT, 0), p_within(MISSING_EFFECT, 0.1)]).all()


def test_domains_of_unequal_seeds_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 3, 20\), \(1, 2, 20\)"):
        crossed_effect([np.ones((1, 3, 20)), np.ones((1, 2, 20))])


def test_p_values_are_those_of_the_t_distribution():
    effect = MISSING_EFFECT._replace(estimate=0.03, se=0.01, df=4.0)
    assert p_above(effect, 0.01) == pytest.approx(stats.t.sf(2, 4))
    assert p_below(effect, 0.01) == pytest.approx(stats.t.cdf(2, 4))
    assert p_within(effect, 0.05) == pytest.approx(stats.t.cdf(-2, 4))


def test_the_detectable_effect_is_found_with_80_percent_power():
    effect = crossed_effect([np.repeat(np.random.default_rng(9).normal(size=(1, 4, 1)), 9, axis=2)])
    critical = stats.t.ppf(0.975, effect.df)
    assert stats.nct.sf(critical, effect.df, effect.detectable / effect.se) == pytest.approx(0.8, abs=1e-4)


def test_terms_equal_sums_of_squares_of_the_crossed_analysis_of_variance():
    """Two factors against the textbook: mean squares of seeds, images and the rest, over the number of values."""
    x = np.random.default_rng(10).normal(size=(4, 30))
    terms, df = crossed_terms([x[None]])
    rows, columns = x.mean(axis=1, keepdims=True), x.mean(axis=0)
    rest = x - rows - columns + x.mean()
    assert terms.seed == pytest.approx(30 * rows.var() * 4 / 3 / 120)
    assert terms.image == pytest.approx(4 * columns.var() * 30 / 29 / 120)
    assert terms.seed_image == pytest.approx((rest**2).sum() / (3 * 29) / 120)
    assert (df.seed, df.image, df.seed_image) == pytest.approx((3, 29, 87))
    assert (terms.draw, terms.draw_seed, terms.draw_image, terms.draw_seed_image) == (0, 0, 0, 0)


def test_components_are_unbiased_and_one_level_has_none():
    found = [
        variance_components(make(np.random.default_rng(seed), (4, 6), 40, draw=0.4, seed=0.5, image=1, rest=2))
        for seed in range(400)
    ]
    mean = {name: np.mean([row[name] for row in found]) for name in found[0]}
    expected = {"draw": 0.16, "seed": 0.25, "image": 1 / 80, "residual": 4 / 80}
    assert {name: mean[name] for name in expected} == pytest.approx(expected, rel=0.12)
    assert np.mean([row["mean_se"] ** 2 for row in found]) == pytest.approx(
        0.16 / 4 + 0.25 / 6 + 1 / 80 + 4 / 80 / 24, rel=0.1
    )
    single = variance_components(make(np.random.default_rng(0), (1, 3), 40, seed=0.5, image=1))
    assert np.isnan(single["draw"])
    assert single["seed"] > 0


def test_a_missing_value_makes_every_component_missing():
    values = make(np.random.default_rng(0), (2, 3), 10, image=1)
    values[0][0, 0, 0] = np.nan
    assert np.isnan(list(variance_components(values).values())).all()


def test_the_standard_error_is_right_on_average_with_every_factor_at_work():
    made = [make(np.random.default_rng(seed), (3, 5), 30, 0.3, 0.4, 1, 1) for seed in range(500)]
    truth = np.std([np.mean([v.mean() for v in values]) for values in made])
    assert np.sqrt(np.mean([standard_error(values)[0] ** 2 for values in made])) == pytest.approx(truth, rel=0.1)


def test_a_handful_of_images_that_differ_make_no_certainty_where_draws_and_seeds_agree_by_chance():
    values = [np.zeros((3, 2, images)) for images in (168, 164, 168, 156)]
    values[0][1, 0, 99], values[1][1:, 0, 42], values[3][0, 0, [7, 99]], values[3][2, 0, 99] = -1, 1, [1, -1], -1
    each = [np.square(value).sum() / value.size**2 for value in values]
    events = np.sqrt(np.mean(each) / len(values))  # as if every difference were an event of its own
    found = crossed_effect(values)
    assert events / 4 < found.se < events
    assert found.low < -events / 2 < events / 2 < found.high


def test_images_that_cancel_in_every_mean_of_draws_and_seeds_still_have_a_standard_error():
    value = np.zeros((2, 3, 10))
    value[0, :, :2], value[1, :, :2] = [1, -1], [-1, 1]
    found = crossed_effect([value])
    assert found.estimate == 0
    assert 0 < found.se < found.high == -found.low
