"""results/index.csv is a list for people: a damaged one is made anew and stops nobody."""

from pathlib import Path

import pytest

from sap.io import read_csv
from sap.pipeline import build_study
from sap.plan.manifest import update_index

INDEX = Path("results/index.csv")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(b"stage", b"stagf"),
        lambda text: text.replace(b"digits", b"digitz"),
        lambda text: b"\xff" + text,
        lambda text: b"",
    ],
    ids=["cut", "header", "values", "no text", "empty"],
)
def test_a_damaged_index_is_made_anew(damage, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = build_study(config)
    update_index(study)
    whole = {tuple(row.items()) for row in read_csv(INDEX)}
    INDEX.write_bytes(damage(INDEX.read_bytes()))
    update_index(study)
    assert whole <= {tuple(row.items()) for row in read_csv(INDEX)}
