"""Captions of the HTML report: short, and never without the sentence that says how to read."""

import re
from pathlib import Path

import pytest

CAPTIONS = sorted(Path(__file__).parents[2].glob("workflow/report/*_*.rst"))


def test_there_are_captions():
    assert len(CAPTIONS) > 40


@pytest.mark.parametrize("path", CAPTIONS, ids=lambda path: path.stem)
def test_a_caption_says_in_two_sentences_what_is_seen_and_how_to_read_it(path):
    assert len(re.findall(r"[.!?](?:\s|$)", path.read_text(encoding="utf-8"))) == 2
