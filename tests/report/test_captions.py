"""Captions of the HTML report: short, and never without the sentence that says how to read."""

import re

import pytest

from sap.report.catalogue import EXHIBITS


def test_there_are_captions():
    assert len(EXHIBITS) > 40


@pytest.mark.parametrize("exhibit", EXHIBITS.values(), ids=lambda exhibit: f"{exhibit.kind}-{exhibit.name}")
def test_a_caption_says_in_two_sentences_what_is_seen_and_how_to_read_it(exhibit):
    assert len(re.findall(r"[.!?](?:\s|$)", exhibit.caption)) == 2
