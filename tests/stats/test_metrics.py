"""Metrics against scikit-learn, closed forms and numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss

from sap.stats.metrics import balanced_accuracy, ece, nll, normalised


def test_balanced_accuracy_is_scikit_learns_and_ignores_classes_that_do_not_occur():
    rng = np.random.default_rng(0)
    labels, predicted = rng.choice([0, 2, 3, 9], p=[0.7, 0.1, 0.1, 0.1], size=300), rng.choice([0, 2, 3, 9], size=300)
    assert balanced_accuracy(predicted, labels) == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert balanced_accuracy([0, 0, 0, 5], [0, 0, 0, 1]) == 0.5


def test_ece_of_a_hand_worked_case():
    """Bins of 0.25: [0.5, 0.75) holds 0.6 right and 0.7 wrong, [0.75, 1) holds 0.9 right."""
    assert ece([0.6, 0.7, 0.9], [True, False, True], bins=4) == pytest.approx(2 / 3 * 0.15 + 1 / 3 * 0.1)


def test_ece_is_zero_when_calibrated_and_the_gap_when_always_sure():
    confidence = np.repeat([0.25, 0.75], 40)
    correct = np.concatenate([np.arange(40) < 10, np.arange(40) < 30])
    assert ece(confidence, correct) == pytest.approx(0, abs=1e-12)
    assert ece(np.ones(10), np.arange(10) < 7) == pytest.approx(0.3)


def test_ece_bins_are_closed_below():
    assert ece([0.5, 0.4999], [True, False], bins=2) == pytest.approx((0.5 + 0.4999) / 2)


def test_a_confidence_of_one_lies_in_the_last_of_fifteen_bins():
    assert ece((0.95, 1.0), (1, 0)) == pytest.approx(0.475)
    assert ece((14 / 15, 1.0), (1, 0)) == pytest.approx(abs(14 / 15 + 1 - 1) / 2)
    assert ece((0.9333, 1.0), (1, 0)) == pytest.approx((1 - 0.9333 + 1) / 2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_ece_is_the_sum_over_bins_as_numpys_histogram_makes_them(answers, bins):
    confidence, correct = np.array(answers, dtype=float).T / [[1000], [1]]
    edges = np.linspace(0, 1, bins + 1)
    gaps = [np.histogram(confidence, edges, weights=values)[0] for values in (correct, confidence)]
    assert ece(confidence, correct, bins) == pytest.approx(np.abs(gaps[0] - gaps[1]).sum() / len(answers), abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_nll_is_scikit_learns_log_loss_and_survives_a_zero():
    p = np.random.default_rng(1).random(50)
    assert nll(p) == pytest.approx(log_loss(np.ones(50), np.column_stack([1 - p, p]), labels=[0, 1]))
    assert nll([0.0]) == pytest.approx(12 * np.log(10))


def test_normalised_scores_are_suppressed_where_there_is_no_room():
    assert normalised(0.70, 0.60, 0.80) == pytest.approx(0.5)
    assert normalised(0.81, 0.80, 0.82) == pytest.approx(0.5)
    assert np.isnan(normalised(0.81, 0.80, 0.8199))
    assert np.isnan(normalised(0.5, 0.8, 0.7))
    assert np.isnan(normalised(0.5, np.nan, 0.7))
