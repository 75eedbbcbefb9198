"""How many of the study's class words the anchors' captions contain."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sap.io import read_csv, read_meta, verified
from sap.report.frame import Results

MOST_NAMED = 10  # absent words in one sentence


class Found(NamedTuple):
    """Class words found in captions: which, and in how many of the captions any of them stands."""

    words: tuple[str, ...]
    captions: int


def words_notes(results: Results) -> tuple[str, ...]:
    """A sentence for each set of anchors that is drawn; none where none is."""
    said = []
    for _, folder in results.jobs("draw_anchors"):
        settings = read_meta(folder)["settings"]
        captions = [row["caption"] for row in read_csv(verified(folder / "anchors.csv"))]
        texts = results.plan.texts
        found = words_in(captions, texts)
        absent = [text for text in texts if text not in found.words]
        rest = f"; none says {', '.join(absent[:MOST_NAMED])}{', ...' * (len(absent) > MOST_NAMED)}" if absent else ""
        kind = "classes" if "words" in settings else "captions"
        said.append(
            f"Anchors ({kind}, draw {settings['draw']}): their captions contain {len(found.words)} of the {len(texts)} "
            f"class words, in {found.captions} of {len(captions)} anchors{rest}."
        )
    return tuple(said)


def words_in(captions: Sequence[str], texts: Sequence[str]) -> Found:
    """Those of the class texts that stand in some caption as whole words, whatever their case."""
    patterns = {text: re.compile(rf"(?<!\w){re.escape(text)}(?!\w)", re.IGNORECASE) for text in texts}
    hits = {text: [bool(pattern.search(caption)) for caption in captions] for text, pattern in patterns.items()}
    named = tuple(text for text, found in hits.items() if any(found))
    return Found(named, sum(map(any, zip(*hits.values(), strict=True))))
