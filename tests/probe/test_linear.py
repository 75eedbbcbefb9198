"""The linear probe on features whose answer is known."""

import warnings

import numpy as np
import pytest

from sap.errors import SapError
from sap.probe.linear import linear_probe


def test_separable_classes_are_read_without_an_error_and_shuffled_labels_at_chance():
    rng = np.random.default_rng(0)
    labels = np.arange(1200) % 4
    features = (rng.normal(size=(1200, 8)) * 0.1 + np.eye(8)[labels]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a probe that did not converge warns
        correct = linear_probe(features[:600], labels[:600], features[600:], labels[600:], "made")
        shuffled = rng.permutation(labels)
        chance = linear_probe(features[:600], shuffled[:600], features[600:], shuffled[600:], "made")
    assert (correct.dtype, correct.min()) == (np.uint8, 1)
    assert abs(chance.mean() - 0.25) < 0.08  # four standard errors of 600 images


def test_the_units_of_a_feature_do_not_matter():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 300)
    features = rng.normal(size=(300, 6)) + 1.5 * np.eye(6)[labels]
    units = np.array([1e-3, 1, 10, 1, 100, 1])
    plain, scaled = (
        linear_probe(f[:150], labels[:150], f[150:], labels[150:], "made") for f in (features, features * units + 7)
    )
    assert np.array_equal(plain, scaled)
    assert 0.5 < plain.mean() < 1


def test_images_of_one_class_are_refused_in_one_sentence():
    features = np.eye(3)
    with pytest.raises(SapError, match=r"domain sketch: a linear probe needs .* two classes or more, got 3 image"):
        linear_probe(features, np.zeros(3), features, np.zeros(3), "domain sketch")
