"""The aggregates of rliable: interquartile mean, stratified intervals, probability of improvement."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from sap.stats.rliable import iqm, probability_of_improvement, stratified_interval


def test_iqm_drops_the_outer_quarters_of_all_runs_together():
    assert iqm([[0, 1], [2, 3], [4, 5], [6, 100]]) == 3.5
    assert np.isnan(iqm([[0.1, np.nan], [0.2, 0.3]]))


def test_seeds_are_resampled_within_their_domain():
    """Domains far apart: a resampling that mixed them would spread over both; each column's spread is its own."""
    scores = np.column_stack([np.arange(5) * 0.01, 10 + np.arange(5) * 0.01])
    low, high = stratified_interval(scores, statistic=np.mean)
    assert 5 < low < 5.02 < high < 5.04


def test_the_interval_of_the_mean_is_the_normal_one_with_many_seeds():
    scores = np.random.default_rng(0).normal(size=(200, 2))
    low, high = stratified_interval(scores, statistic=np.mean, resamples=4000)
    se = np.sqrt(scores.var(axis=0).sum() / 200) / 2
    assert (low, high) == pytest.approx((scores.mean() - 1.96 * se, scores.mean() + 1.96 * se), abs=0.2 * se)


def test_the_domains_are_resampled_independently():
    scores = np.random.default_rng(1).normal(size=(50, 1)) @ np.ones((1, 4))
    low, high = stratified_interval(scores, statistic=np.mean, resamples=4000)
    assert high - low == pytest.approx(2 * 1.96 * scores[:, 0].std() / np.sqrt(50) / 2, rel=0.1)


def test_probability_of_improvement_is_mann_whitneys_u_per_domain():
    rng = np.random.default_rng(2)
    a, b = rng.integers(6, size=(5, 3)) / 6, rng.integers(5, size=(4, 3)) / 6
    expected = np.mean([mannwhitneyu(a[:, d], b[:, d]).statistic / 20 for d in range(3)])
    assert probability_of_improvement(a, b) == pytest.approx(expected)
    assert probability_of_improvement(a, a) == 0.5
    assert probability_of_improvement(a + 9, b) == 1
    assert np.isnan(probability_of_improvement(a * np.nan, b))
