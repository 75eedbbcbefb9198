"""The rule of the verdicts on made effects and made data, with its power by simulation."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from sap.stats.effect import MISSING_EFFECT, Effect, crossed_effect, p_above, p_below
from sap.stats.verdict import VERDICTS, Part, p_of, p_of_claim, refuted, verdict


def make_effect(estimate, se, df=10.0):
    half = stats.t.ppf(0.975, df) * se
    bare = Effect(estimate, estimate - half, estimate + half, se, df, np.nan, np.nan, np.nan, 1, 5, 100)
    return bare._replace(p_greater=p_above(bare, 0.0), p_less=p_below(bare, 0.0))


CLEAR, NONE, VAGUE = make_effect(0.06, 0.005), make_effect(0.0, 0.005), make_effect(0.02, 0.03)


def told(*parts, need="all"):
    return verdict(parts, need, p_of_claim(parts, need))


@pytest.mark.parametrize(
    ("effect", "kind", "expected"),
    [
        (CLEAR, "greater", "supported"),
        (NONE, "greater", "refuted"),
        (VAGUE, "greater", "underpowered"),
        (make_effect(-0.06, 0.005), "greater", "refuted"),
        (make_effect(-0.06, 0.005), "less", "supported"),
        (NONE, "less", "refuted"),
        (CLEAR, "less", "refuted"),
        (VAGUE, "less", "underpowered"),
        (NONE, "within", "supported"),
        (CLEAR, "within", "refuted"),
        (make_effect(-0.06, 0.005), "within", "refuted"),
        (VAGUE, "within", "underpowered"),
        (make_effect(0.03, 0.01), "within", "underpowered"),  # leaves zero, may lie within the margin
        (MISSING_EFFECT, "greater", "not testable"),
        (MISSING_EFFECT, "within", "not testable"),
    ],
)
def test_verdicts_on_one_part_with_a_margin_of_three_points(effect, kind, expected):
    assert told(Part("made", effect, kind, 0.03)) == expected
    assert expected in VERDICTS


def test_a_small_effect_that_is_there_but_not_after_correction_is_not_refuted():
    part = Part("made", make_effect(0.01, 0.004), "greater", 0.03)
    assert part.effect.low > 0
    assert told(part) == "supported"
    assert verdict([part], "all", 0.2) == "underpowered"
    assert not refuted(part)


def test_all_parts_are_needed_or_any():
    good, bad, vague = (Part(name, e, "greater", 0.03) for name, e in zip("gbv", (CLEAR, NONE, VAGUE), strict=True))
    assert told(good, good) == "supported"
    assert told(good, bad) == "refuted"
    assert told(good, vague) == "underpowered"
    assert told(good, bad, need="any") == "supported"
    assert told(bad, vague, need="any") == "underpowered"
    assert told(bad, bad, need="any") == "refuted"
    assert told(need="all") == told(need="any") == "not testable"
    assert told(good, Part("m", MISSING_EFFECT, "greater", 0.03), need="any") == "not testable"


def test_p_of_a_claim_is_the_largest_or_bonferronis():
    parts = [Part("a", make_effect(0.02, 0.01), "greater", 0), Part("b", make_effect(0.03, 0.01), "greater", 0)]
    ps = [p_of(part) for part in parts]
    assert p_of_claim(parts, "all") == max(ps)
    assert p_of_claim(parts, "any") == pytest.approx(2 * min(ps))
    assert p_of_claim([Part("a", NONE, "greater", 0)] * 3, "any") == 1


def test_less_mirrors_greater():
    for effect in (CLEAR, NONE, VAGUE):
        mirrored = make_effect(-effect.estimate, effect.se)
        greater, less = Part("g", effect, "greater", 0.03), Part("l", mirrored, "less", 0.03)
        assert p_of(greater) == pytest.approx(p_of(less))
        assert refuted(greater) == refuted(less)


def test_unknown_kinds_and_needs_are_refused():
    with pytest.raises(ValueError, match="'more'"):
        p_of(Part("a", NONE, "more", 0.1))
    with pytest.raises(ValueError, match="'more'"):
        refuted(Part("a", NONE, "more", 0.1))
    with pytest.raises(ValueError, match="'some'"):
        p_of_claim([Part("a", NONE, "greater", 0.1)], "some")


def simulate(truth, images, kind="greater", margin=0.1, trials=150):
    """How often each verdict is given, with five seeds, two domains and answers right, wrong or as before."""
    verdicts = Counter()
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        share = truth + 0.02 * rng.normal(size=(1, 5, 1))
        values = [(rng.random((1, 5, images)) < 0.3 + share) - (rng.random((1, 5, images)) < 0.3) * 1.0 for _ in "ab"]
        verdicts[told(Part("made", crossed_effect(values, resamples=200), kind, margin))] += 1
    return {name: verdicts[name] / trials for name in VERDICTS}


def test_a_true_effect_of_twice_the_margin_is_supported_with_enough_data():
    assert simulate(0.2, 200)["supported"] >= 0.8
    assert simulate(0.2, 200, kind="within")["refuted"] >= 0.8


def test_no_effect_is_refuted_with_enough_data_and_seldom_supported():
    found = simulate(0.0, 200)
    assert found["refuted"] >= 0.8
    assert found["supported"] <= 0.05
    assert simulate(0.0, 200, kind="within")["supported"] >= 0.8


def test_an_effect_at_the_margin_is_seldom_held_for_none():
    """The margin is the edge of "within" and of what refutes a difference: errors there keep to the level."""
    assert simulate(0.1, 200)["refuted"] <= 0.05
    assert simulate(0.1, 200, kind="within")["supported"] <= 0.1


def test_too_little_data_is_underpowered():
    found = simulate(0.1, 6, margin=0.1)
    assert found["underpowered"] >= 0.6
    assert simulate(0.0, 6)["supported"] <= 0.1
