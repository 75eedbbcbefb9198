"""One resampling for many models: means, ranks and their correlation."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from sap.stats.resampling import interval_of, rank_correlation, ranks, resampled_means


@pytest.fixture
def correct():
    """Four models, three seeds, two domains of 200 and 50 images; each model is right more often than the last."""
    rng = np.random.default_rng(0)
    share = np.array([0.3, 0.5, 0.6, 0.9])[:, None, None]
    return [(rng.random((4, 3, n)) < share).astype(float) for n in (200, 50)]


def test_resampled_means_are_centred_on_the_accuracies_where_every_domain_counts_the_same(correct):
    means = resampled_means(correct, 2000)
    plain = np.mean([domain.mean(axis=(1, 2)) for domain in correct], axis=0)
    assert means.shape == (2000, 4)
    assert np.abs(means.mean(axis=0) - plain).max() < 0.005
    sd = np.sqrt(sum(plain * (1 - plain) / n / 3 for n in (200, 50))) / 2  # binomial: a floor, seeds vary, too
    assert (means.std(axis=0) > 0.9 * sd).all()


def test_equal_models_stay_equal_in_every_resample_and_a_constant_one_has_no_spread(correct):
    twice = [np.concatenate([domain[:1], domain[:1], np.ones_like(domain[:1])]) for domain in correct]
    means = resampled_means(twice, 100)
    assert np.allclose(means[:, 0], means[:, 1])
    assert np.allclose(means[:, 2], 1)


def test_one_seed_and_many_models_are_resampled_over_images_alone(correct):
    one = resampled_means([domain[:, :1] for domain in correct], 500)
    assert one.std(axis=0).min() > 0


def test_rank_correlation_is_spearmans_with_ties():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 5, (20, 9)).astype(float), rng.standard_normal((20, 9))
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert np.allclose(rank_correlation(a, b), expected)
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4.0)))
    assert ranks(np.array([0.2, 0.9, 0.9])).tolist() == [3, 1.5, 1.5]


def test_an_interval_holds_the_middle_of_its_resamples():
    assert interval_of(np.arange(1001.0), 0.9) == pytest.approx((50, 950))
