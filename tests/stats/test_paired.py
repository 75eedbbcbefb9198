"""Paired tests against scipy's own and hand-worked numbers."""

import numpy as np
import pytest
from scipy import stats

from sap.stats.paired import detectable_difference, friedman, holm, mcnemar, wilcoxon


def test_mcnemar_is_the_binomial_test_of_the_images_that_differ():
    a = [True] * 9 + [False] * 2 + [True] * 50 + [False] * 10
    b = [False] * 9 + [True] * 2 + [True] * 50 + [False] * 10
    found = mcnemar(a, b)
    assert (found["only_a"], found["only_b"]) == (9, 2)
    assert found["p"] == pytest.approx(stats.binomtest(2, 11).pvalue)


@pytest.mark.filterwarnings("error")
def test_mcnemar_of_equal_predictions_is_one():
    assert mcnemar([True, False], [True, False]) == {"only_a": 0, "only_b": 0, "p": 1.0}


def test_mcnemar_refuses_unpaired_predictions():
    with pytest.raises(ValueError, match="one of each per image"):
        mcnemar([True], [True, False])


def test_wilcoxon_of_five_wins_is_one_in_sixteen():
    a = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    assert wilcoxon(a, a - [0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx(2 / 2**5)


@pytest.mark.filterwarnings("error")
def test_wilcoxon_learns_nothing_from_equal_pairs_and_is_missing_where_all_are_equal():
    b = np.zeros(8)
    assert wilcoxon([0.5, 0.4, 0.3, 0.2, 0.1, 0, 0, 0], b) == pytest.approx(2 / 2**5)
    assert wilcoxon([0.5, 0.4, 0.3, 0.2, -0.1, 0, 0, 0], b) > 2 / 2**5
    assert np.isnan(wilcoxon(b, b))
    assert np.isnan(wilcoxon([0.1, np.nan], [0.0, 0.0]))


def test_friedman_equals_the_rank_formula():
    matrix = np.array([[0.1, 0.2, 0.3], [0.2, 0.5, 0.9], [0.3, 0.1, 0.7], [0.0, 0.4, 0.6]])
    sums = stats.rankdata(matrix, axis=1).sum(axis=0)
    statistic = 12 / (4 * 3 * 4) * np.square(sums).sum() - 3 * 4 * 4
    assert friedman(matrix) == pytest.approx((statistic, stats.chi2.sf(statistic, 2)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "matrix", [[], [[0.1, 0.2], [0.2, 0.3]], [[0.1, 0.2, 0.3]], [[0.1] * 3, [0.2] * 3], [[0.1, 0.2, np.nan], [1, 2, 3]]]
)
def test_friedman_is_missing_where_there_is_nothing_to_rank(matrix):
    assert np.isnan(friedman(matrix)).all()


def test_holm_steps_down_and_leaves_missing_claims_out():
    found = holm({"a": 0.01, "b": np.nan, "c": 0.04, "d": 0.03})
    assert {name: found[name] for name in "acd"} == pytest.approx({"a": 0.03, "c": 0.06, "d": 0.06})
    assert np.isnan(found["b"])
    assert list(found) == ["a", "b", "c", "d"]
    assert holm({}) == {}
    assert np.isnan(holm({"a": np.nan})["a"])


@pytest.mark.parametrize(
    ("n", "at_2", "at_5"), [(1670, 0.97, 1.53), (2048, 0.88, 1.38), (2344, 0.82, 1.29), (3929, 0.63, 1.00)]
)
def test_the_resolution_of_pacs(n, at_2, at_5):
    assert round(100 * detectable_difference(n, 0.02), 2) == at_2
    assert round(100 * detectable_difference(n, 0.05), 2) == at_5


def test_mcnemar_finds_the_detectable_difference_about_four_times_in_five():
    n, discordant = 2000, 0.1
    only_a = (discordant + detectable_difference(n, discordant)) / 2
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n, [only_a, discordant - only_a, 1 - discordant], size=300)
    found = np.mean([stats.binomtest(int(a), int(a + b)).pvalue < 0.05 for a, b, _ in draws])
    assert 0.72 <= found <= 0.88
