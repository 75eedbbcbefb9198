"""The images that a probe sees: even over the classes, and the same for everybody who asks with the same seed."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sap.probe.inputs import alike, evenly

LABELS = st.lists(st.integers(0, 5), max_size=60).map(lambda labels: np.array(labels, np.int64))


@settings(deadline=None)
@given(labels=LABELS, most=st.integers(0, 70))
def test_no_class_has_more_than_one_image_above_another_unless_that_one_is_used_up(labels, most):
    chosen = evenly(labels, most, seed=1)
    assert len(chosen) == min(most, len(labels))
    assert np.array_equal(chosen, np.unique(chosen))
    taken, there = np.bincount(labels[chosen], minlength=6), np.bincount(labels, minlength=6)
    assert all(taken[c] >= taken.max() - 1 or taken[c] == there[c] for c in range(6))


@settings(deadline=None)
@given(labels=LABELS, most=st.integers(0, 70))
def test_more_images_are_a_superset(labels, most):
    assert set(evenly(labels, most, seed=2)) <= set(evenly(labels, most + 1, seed=2))


def test_the_seed_decides_which_images_and_which_class_has_one_more():
    labels = np.arange(100) % 4
    assert np.array_equal(evenly(labels, 10, seed=0), evenly(labels, 10, seed=0))
    assert len({tuple(evenly(labels, 10, seed=seed)) for seed in range(10)}) == 10
    assert {int(labels[evenly(labels, 1, seed=seed)][0]) for seed in range(50)} == {0, 1, 2, 3}


@settings(deadline=None)
@given(labels=LABELS, others=LABELS, most=st.integers(0, 70))
def test_both_sides_have_the_same_classes_and_as_many_as_they_share(labels, others, most):
    first, second = alike(labels, others, most, seed=3)
    assert np.array_equal(np.sort(labels[first]), np.sort(others[second]))
    shared = np.minimum(np.bincount(labels, minlength=6), np.bincount(others, minlength=6)).sum()
    assert len(first) == min(most, shared)
    assert len(np.unique(first)) == len(first)
