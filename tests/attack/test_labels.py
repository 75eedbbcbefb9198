"""Label corruption changes exactly what it says, and nothing depends on anything but the generator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sap.attack.labels import KINDS, corrupt_labels, derangement, selected
from sap.errors import SapError

LABELS = np.random.default_rng(3).integers(0, 7, 101)


def corrupted(kind, fraction=0.4, target=2, seed=0, labels=LABELS, n_classes=7):
    return corrupt_labels(labels, n_classes, kind, fraction, target, np.random.default_rng(seed))


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 200),
    n_classes=st.integers(2, 12),
    fraction=st.floats(0, 1),
    kind=st.sampled_from(["uniform", "derangement"]),
)
def test_exactly_the_rounded_share_of_labels_changes(n, n_classes, fraction, kind):
    labels = np.random.default_rng(n).integers(0, n_classes, n)
    changed = corrupted(kind, fraction, labels=labels, n_classes=n_classes)
    assert np.sum(changed != labels) == round(fraction * n)
    assert changed.dtype == np.int64
    assert np.all((changed >= 0) & (changed < n_classes))


def test_none_changes_nothing():
    assert np.array_equal(corrupted("none", 1.0), LABELS)


def test_derangement_is_one_fixed_map_of_the_classes():
    pairs = set(zip(LABELS.tolist(), corrupted("derangement", 1.0).tolist(), strict=True))
    assert len(pairs) == 7
    assert all(before != after for before, after in pairs)
    assert len({after for _, after in pairs}) == 7


def test_uniform_reaches_every_wrong_class():
    labels = np.zeros(3000, np.int64)
    counts = np.bincount(corrupted("uniform", 1.0, labels=labels), minlength=7)
    assert counts[0] == 0
    assert counts[1:].min() > 400


def test_single_counts_images_that_already_have_the_target_as_selected():
    labels = np.array([2] * 5 + [0] * 5)
    changed = corrupted("single", 0.6, labels=labels)
    assert np.sum(changed != labels) < 6
    assert np.all(changed[changed != labels] == 2)
    assert np.all(corrupted("single", 1.0, labels=labels) == 2)
    assert np.all(corrupted("single", 1.0, target=None, labels=labels) == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_growing_fractions_are_nested_and_the_input_stays(kind):
    before = LABELS.copy()
    small, large = corrupted(kind, 0.3), corrupted(kind, 0.8)
    assert np.all(large[small != LABELS] == small[small != LABELS])
    assert np.array_equal(LABELS, before)
    assert np.array_equal(small, corrupted(kind, 0.3))


@pytest.mark.parametrize("kind", ["single", "backdoor"])
def test_the_selected_images_are_those_that_get_the_target(kind):
    changed = corrupted(kind, 0.4, seed=5)
    chosen = selected(len(LABELS), 0.4, np.random.default_rng(5))
    assert len(chosen) == len(set(chosen)) == round(0.4 * len(LABELS))
    assert np.all(changed[chosen] == 2)
    assert set(chosen) != set(selected(len(LABELS), 0.4, np.random.default_rng(6)))
    others = np.setdiff1d(np.arange(len(LABELS)), chosen)
    assert np.array_equal(changed[others], LABELS[others])


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_derangement_has_no_fixed_point(n):
    for seed in range(20):
        permutation = derangement(n, np.random.default_rng(seed))
        assert sorted(permutation) == list(range(n))
        assert not np.any(permutation == np.arange(n))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "unifrom"}, "Did you mean 'uniform'"),
        ({"kind": "uniform", "fraction": 1.5}, "fraction must lie in"),
        ({"kind": "single", "target": 7}, "one of the 7 classes"),
        ({"kind": "backdoor", "target": 7}, "one of the 7 classes"),
        ({"kind": "uniform", "labels": np.zeros(3, int), "n_classes": 1, "target": 0}, "at least 2 classes"),
    ],
)
def test_impossible_requests_are_one_sentence(change, words):
    with pytest.raises(SapError, match=words):
        corrupted(**change)
