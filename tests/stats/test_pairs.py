from itertools import combinations

import numpy as np
import pytest

from sap.stats.effect import crossed_effect
from sap.stats.pairs import member_values

PAIRS = list(combinations("abcd", 2))


def test_the_values_of_members_average_to_the_mean_over_pairs_and_are_the_jackknifes():
    values = np.random.default_rng(0).normal(size=(2, 3, 6))
    found = member_values(values, PAIRS)
    assert found.shape == (2, 3, 4)
    np.testing.assert_allclose(found.mean(axis=-1), values.mean(axis=-1))
    without = [values[..., [member not in pair for pair in PAIRS]].mean(axis=-1) for member in "abcd"]
    np.testing.assert_allclose(found, 4 * values.mean(axis=-1, keepdims=True) - 3 * np.stack(without, axis=-1))


def test_equal_pairs_give_equal_members():
    np.testing.assert_allclose(member_values(np.full(6, 0.3), PAIRS), np.full(4, 0.3))


@pytest.mark.parametrize("pairs", [PAIRS[:5], [*PAIRS[:5], ("b", "a")], [("a", "b")]])
def test_absent_or_doubled_pairs_are_refused(pairs):
    with pytest.raises(ValueError, match="pair"):
        member_values(np.zeros(len(pairs)), pairs)


@pytest.mark.parametrize("k", [4, 8])
def test_intervals_cover_where_members_move_all_their_pairs_and_pairs_alone_do_not(k):
    rng = np.random.default_rng(k)
    pairs = list(combinations(range(k), 2))
    first, second = np.array(pairs).T
    covered = np.zeros(2)
    rounds = 300
    for _ in range(rounds):
        moved, noise = rng.normal(size=k), 0.3 * rng.normal(size=(1, 3, len(pairs)))
        values = (moved[first] + moved[second]) + noise
        for index, units in enumerate((member_values(values, pairs), values)):
            effect = crossed_effect([units], resamples=200)
            covered[index] += effect.low <= 0 <= effect.high
    assert 0.9 <= covered[0] / rounds <= 0.99
    assert covered[1] / rounds < 0.88
