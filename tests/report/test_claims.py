"""The ledger has twelve claims whatever was measured; verdicts follow the rule, and what cannot be tested says why."""

from dataclasses import replace

import numpy as np
import pytest

from sap.findings import claim_effects, claims
from sap.findings.claims import CLAIMS, claims_frame, claims_table
from sap.findings.draw_claims import draw_claims
from sap.findings.summary import summary_page
from sap.report.table import p_value, sample
from sap.report.write import markdown
from sap.stats.bed import NO_TRANSFER, TRANSFER, UNTOLD
from sap.stats.effect import crossed_effect
from sap.stats.verdict import NOT_TESTABLE, REFUTED, SUPPORTED, UNDERPOWERED, VERDICTS, Part

IDS = [f"C{number}" for number in range(1, 13)]


def made(mean: float, noise: float = 0.05, images: int = 400):
    """An effect of this size over one draw, five seeds and two domains."""
    rng = np.random.default_rng(0)
    return crossed_effect([mean + noise * rng.standard_normal((1, 5, images)) for _ in range(2)])


@pytest.fixture
def judged(results, monkeypatch):
    """Frame of a ledger whose every claim rests on these parts; `room` in the place of the ceilings."""

    def frame(parts, room=None, kind="greater"):
        listed = [Part(name, effect, kind, 0.01) for name, effect in parts.items()]
        made_up = [claim.__class__(**{**vars(claim), "parts": lambda _: listed}) for claim in CLAIMS]
        monkeypatch.setattr(claims, "CLAIMS", made_up)
        monkeypatch.setattr(claim_effects, "room_above_zero_shot", lambda _: room)
        return claims_frame(results).set_index("claim")

    return frame


@pytest.mark.parametrize("experiment", ["results", "bare"])
def test_there_are_twelve_claims_each_with_a_verdict_and_a_reason_where_it_has_none(experiment, request):
    frame = claims_frame(request.getfixturevalue(experiment))
    assert list(dict.fromkeys(frame["claim"])) == IDS
    assert set(frame["verdict"]) <= set(VERDICTS)
    assert (frame.groupby("claim")["verdict"].nunique() == 1).all()
    assert (frame.loc[frame["verdict"] == NOT_TESTABLE, "why"] != "").all()


def test_floors_and_ceilings_alone_tell_about_the_room_and_nothing_else(bare):
    frame = claims_frame(bare)
    assert set(frame.loc[frame["verdict"] != NOT_TESTABLE, "claim"]) == {"C8"}


def test_what_the_synthetic_experiment_lacks_is_named(results):
    frame = claims_frame(results).set_index("claim")
    assert "both towers" in frame.loc["C1", "why"]
    assert "deranged client" in frame.loc["C7", "why"]


def test_a_true_effect_is_supported_and_none_is_refuted(judged):
    assert set(judged({"gain": made(0.05)})["verdict"]) == {SUPPORTED}
    assert set(judged({"gain": made(0.0)})["verdict"]) == {REFUTED}


def test_too_little_data_is_neither(judged):
    assert set(judged({"gain": made(0.02, noise=0.5, images=30)})["verdict"]) == {UNDERPOWERED}


def test_gains_are_not_testable_without_room(judged):
    frame = judged({"gain": made(0.05)}, room=made(0.001))
    about_gains = {claim.id for claim in CLAIMS if claim.room}
    assert set(frame.index[frame["verdict"] == NOT_TESTABLE]) == about_gains
    assert frame.loc[list(about_gains), "why"].str.startswith("no room").all()


def test_evidence_is_corrected_over_the_claims(judged):
    effect = made(0.01, noise=0.5)
    frame = judged({"gain": effect})
    tested = frame["claim_p"].notna()
    assert tested.all()
    assert np.allclose(frame["claim_p_holm"], np.minimum(1, len(CLAIMS) * effect.p_greater))


def test_the_table_prints_points_and_never_ten_decimals(judged, results):
    effect = judged({"gain": made(0.0512345678)}).loc["C4", "effect"]
    page = markdown(claims_table(results), "title")
    assert f"+{100 * effect:.1f} [" in page
    assert not [word for word in page.split() if word.count(".") == 1 and len(word.partition(".")[2].strip("],;")) > 4]


def test_numbers_are_short():
    assert [p_value(p) for p in (0.0312, 0.0004, np.nan)] == ["0.031", "< 0.001", "missing"]
    assert sample({"draws": 3, "seeds": 5, "images": 1920}) == "3 × 5 × 1920"
    assert sample({"draws": 1, "seeds": 5, "images": 1920}) == "5 × 1920"


def test_the_summary_is_one_page_with_setting_numbers_verdicts_and_limits(results):
    page = summary_page(results)
    for heading in ("## Setting", "## Headline numbers", "## Claims", "## What the methods use", "## Limits"):
        assert heading in page
    assert all(f"| {claim.id}: " in page for claim in CLAIMS)
    assert len(page.splitlines()) < 90


def test_the_summary_prints_what_the_part_that_is_hardest_to_see_could_have_shown_and_its_n(judged, results):
    few = made(0.0, noise=0.5, images=30)
    judged({"many images": made(0.0), "few images": few})
    page = summary_page(results)
    assert page.count(f"| {100 * few.detectable:.1f} | 5 × 60 |") == len(CLAIMS)


@pytest.mark.parametrize("experiment", ["results", "bare"])
def test_the_figure_has_a_line_for_every_part(experiment, request):
    found = request.getfixturevalue(experiment)
    axis = draw_claims(found).axes[0]
    assert len(axis.get_yticklabels()) == len(claims_frame(found))


def test_the_verdict_says_on_which_bed_it_was_asked_where_the_answer_depends_on_it(results, monkeypatch):
    asked = {"C2", "C4", "C5", "C8", "C10"}
    for bed in (TRANSFER, NO_TRANSFER, UNTOLD, ""):
        monkeypatch.setattr(claim_effects, "bed", lambda _, bed=bed: bed)
        frame = claims_frame(results)
        assert set(frame.loc[frame["bed"] == bed, "claim"]) >= asked
        headings = set(claims_table(results).frame["heading"])
        told = {heading.split(":")[0] for heading in headings if heading.endswith(f"(where {bed})")}
        assert told == (asked if bed in (TRANSFER, NO_TRANSFER) else set())


def test_the_bed_is_told_by_the_pooled_model_of_the_main_table(results, bare):
    assert claim_effects.bed(results) in (TRANSFER, UNTOLD)  # it is made to gain five points
    without = replace(results, points=results.points[results.points["kind"] != "pooled"])
    assert claim_effects.bed(without) == ""
