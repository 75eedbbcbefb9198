"""Ties of float means are the ties of the rational numbers behind them, whatever the sizes and the order of sums."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sap.report.table import points
from sap.stats.effect import crossed_effect
from sap.stats.paired import friedman, wilcoxon
from sap.stats.rliable import probability_of_improvement
from sap.stats.summary import difference, domain_average, summarise
from sap.stats.ties import EQUAL, at_least, largest, smallest, snapped

SIZES = st.integers(2, 100_000)  # test images of a domain


@st.composite
def cells(draw, columns=2, least=3, most=10):
    """(sizes (N,), right answers (N, columns)): cell i has sizes[i] images; few distinct counts, so that many tie."""
    sizes = draw(st.lists(SIZES, min_size=least, max_size=most))
    counts = [[draw(st.integers(max(0, size - 4), size)) for _ in range(columns)] for size in sizes]
    return np.array(sizes), np.array(counts)


def whole(sizes, counts):
    """The accuracies counts / sizes as integers: over the least common multiple of the sizes."""
    common = math.lcm(*map(int, sizes))
    return [[int(count) * (common // int(size)) for count in row] for size, row in zip(sizes, counts, strict=True)]


def ranked(rows):
    """Integers of any length as small ones in the same order, by magnitude; signs kept."""
    order = {size: rank for rank, size in enumerate(sorted({0, *(abs(x) for row in rows for x in row)}))}
    return np.array([[order[abs(x)] * (1 if x > 0 else -1) for x in row] for row in rows])


def noisy(counts, size, parts=7, seed=0):
    """counts / size as a sum of `parts` shares in a random order."""
    rng = np.random.default_rng(seed)
    weights = rng.random(parts)
    return sum(counts / size * weight for weight in rng.permutation(weights / weights.sum()))


def test_the_signed_ranks_of_the_issue_are_those_of_the_counts():
    right = np.array([59, 53, 37, 33, 33, 51, 35, 30, 51])
    fewer = right - [0, 3, -1, 1, 3, 1, 3, 1, 0]
    assert wilcoxon(right / 60, fewer / 60) == wilcoxon(right, fewer) == pytest.approx(0.078125)


def test_friedmans_ranks_tie_where_a_sum_equals_its_value():
    matrix = [[0.1 + 0.2, 0.3, 0.9], [0.3, 0.1 + 0.2, 0.8], [0.1 + 0.2, 0.3, 0.7]]
    assert friedman(matrix) == friedman([[3, 3, 9], [3, 3, 8], [3, 3, 7]]) == pytest.approx((6, 0.0497871), rel=1e-5)


def test_six_cells_that_differ_by_the_order_of_their_sum_say_nothing():
    thirds = np.array([[0.1, 0.2, 0.3]] * 6)
    a, b = thirds[:, 0] + thirds[:, 1] + thirds[:, 2], thirds[:, 2] + thirds[:, 1] + thirds[:, 0]
    assert (a > b).all()
    assert np.isnan(wilcoxon(a, b))
    assert probability_of_improvement(a[None], b[None]) == 0.5
    assert probability_of_improvement(a[:, None], b[:, None]) == 0.5


@settings(deadline=None, max_examples=60)  # exact: all signs of up to six cells
@given(st.one_of(cells(most=6), cells(least=11, most=15)), st.integers(0, 99))
def test_wilcoxon_of_accuracies_in_any_order_is_that_of_exact_integers(made, seed):
    sizes, counts = made
    exact = ranked([[a - b] for a, b in whole(sizes, counts)])[:, 0]  # the ranks are all that the test reads
    found = wilcoxon(counts[:, 0] / sizes, noisy(counts[:, 1], sizes, seed=seed))
    if exact.any():
        tied = np.unique(np.abs(exact)).size < exact.size or not exact.all()
        method = "asymptotic" if tied and exact.size > 10 else "auto"
        assert found == stats.wilcoxon(exact, zero_method="zsplit", method=method).pvalue
    else:
        assert np.isnan(found)


@settings(deadline=None)
@given(cells(columns=4), st.integers(0, 99))
def test_friedman_of_accuracies_summed_in_any_order_is_that_of_exact_integers(made, seed):
    sizes, counts = made
    sums = np.stack([noisy(column, sizes, seed=seed + i) for i, column in enumerate(counts.T)], axis=1)
    if np.ptp(counts, axis=1).any():
        exact = stats.friedmanchisquare(*counts.T)
        assert friedman(sums) == (exact.statistic, exact.pvalue)
    else:
        assert np.isnan(friedman(sums)).all()


@settings(deadline=None)
@given(cells(columns=6), st.integers(0, 99))
def test_the_probability_of_improvement_is_mann_whitneys_of_exact_integers(made, seed):
    sizes, counts = made  # domains × (three runs of a, three of b)
    a, b = counts[:, :3].T, counts[:, 3:].T
    exact = np.mean([stats.mannwhitneyu(a[:, d], b[:, d]).statistic / 9 for d in range(len(sizes))])
    found = probability_of_improvement(noisy(a, sizes, seed=seed), noisy(b, sizes, parts=5, seed=seed + 1))
    assert found == pytest.approx(exact, abs=1e-12)


@settings(deadline=None)
@given(cells(), st.integers(0, 99))
def test_differences_that_cancel_are_zero_and_others_keep_their_sign(made, seed):
    """Seeds of one size: the sign of the mean difference is that of the counts."""
    sizes, counts = made
    counts = np.minimum(counts, sizes[0])
    a, b = (noisy(column, sizes[0], seed=seed + i) for i, column in enumerate(counts.T))
    found = difference(a, b)
    assert np.sign(found.mean) == np.sign(int(counts[:, 0].sum()) - int(counts[:, 1].sum()))
    if len(set(counts[:, 0] - counts[:, 1])) == 1:
        assert found.sd == 0


def test_a_difference_of_zero_is_zero_and_carries_no_arrow():
    """2,500 zeros: the accuracies of four domains, averaged in two orders; a gain on one that another loses."""
    rng = np.random.default_rng(0)
    scores = rng.integers(1, 60, size=(2500, 3, 4)) / 60
    noise = [domain_average(each).mean() - domain_average(each[:, ::-1]).mean() for each in scores]
    found = [difference(domain_average(each), domain_average(each[:, ::-1])).mean for each in scores]
    assert np.count_nonzero(noise) > 100
    assert found == [0.0] * 2500
    assert {points("delta", mark=True)(pd.Series({"delta": delta})) for delta in found} == {"0.0"}
    lost, gained = np.zeros((1, 3, 49)), np.zeros((1, 3, 147))
    lost[..., :7], gained[..., :21] = -1, 1
    assert np.mean([lost.mean(), gained.mean(), 0.1 - 0.3 + 0.2]) != 0
    assert crossed_effect([lost, gained, np.full((1, 3, 5), 0.1 - 0.3 + 0.2)]).estimate == 0


def test_values_without_a_neighbour_keep_their_bits_and_ties_their_signs():
    values = np.array([0.3, -0.1 - 0.2, 0.30001, 1e-17, -1e-17, np.nan, 7 * EQUAL])
    expected = [0.3, -0.3, 0.30001, 0, 0, np.nan, 7 * EQUAL]
    assert np.array_equal(snapped(values), expected, equal_nan=True)
    assert not np.signbit(snapped(-1e-17))
    assert snapped(np.zeros((0, 3))).shape == (0, 3)


def test_the_first_of_equal_scores_is_chosen():
    scores = {"a": 0.3, "b": 0.1 + 0.2, "c": -0.1}
    assert (largest(scores), smallest(scores)) == ("a", "c")
    assert smallest({"a": 0.1 + 0.2, "b": 0.3, "c": 0.5}) == "a"


def test_a_bound_that_is_met_up_to_noise_is_met():
    assert at_least(0.82 - 0.80, 0.02)
    assert at_least(0.7 - 0.6, 0.1)
    assert not at_least(0.0999, 0.1)
    assert not at_least(np.nan, 0.1)


def test_seeds_that_are_equal_up_to_noise_have_no_spread():
    assert summarise([0.3, 0.1 + 0.2, 0.3]).sd == 0
