"""The HTML report of the small study, read in a real browser: every page shows, off the network."""

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from sap.report.catalogue import CHAPTERS, EXHIBITS, FIGURES, TABLES
from tests.workflow.browser import Reading, missing, read
from tests.workflow.small_study import ROOT

ABSENT = missing()
REQUIRED = bool(os.environ.get("SAP_REQUIRE_BROWSER"))  # where it is set, the tests run or fail

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ci,
    pytest.mark.skipif(ABSENT is not None and not REQUIRED, reason=str(ABSENT)),
]

RAW = re.compile(r"\*\w|`|\.\. \w+::|System Message|\{\{")  # reStructuredText that was not rendered


@pytest.fixture(scope="module")
def report_zip(everything) -> Path:
    """The archive that `make report` makes."""
    everything.run("--report", "report.zip", "--report-stylesheet", "workflow/report/style.css")
    return everything.folder / "report.zip"


@pytest.fixture(scope="module")
def reading(report_zip) -> Reading:
    """All of the report, clicked through once."""
    return read(report_zip)


def test_chapters_hold_every_table_and_figure_of_the_catalogue(reading):
    expected = {each.files[-1]: (f"{each.title} ({each.kind})", each.chapter) for each in EXHIBITS.values()}
    assert {file: (result.title, result.chapter) for file, result in reading.results.items()} == expected
    assert list(dict.fromkeys(result.chapter for result in reading.results.values())) == list(CHAPTERS)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_shows_every_row_or_says_why_it_has_none(name, reading, everything):
    shown = reading.results[f"{name}.html"]
    file = everything.folder / f"results/tables/{everything.overlay['experiment']}/{name}.csv"
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert shown.rows == len(rows)
    title = TABLES[name].title
    assert title in shown.words
    assert f"{name}.csv" in shown.words if rows else len(shown.words) > len(title) + 20


def test_the_summary_shows_rendered_with_a_verdict_on_every_claim(reading, everything):
    shown = reading.results["summary.html"]
    folder = everything.folder / f"results/tables/{everything.overlay['experiment']}"
    verdicts = {row["claim"]: row["verdict"] for row in csv.DictReader((folder / "claims.csv").open())}
    lines = shown.words.splitlines()
    for claim, verdict in verdicts.items():
        assert any(line.startswith(f"{claim}: ") and verdict in line for line in lines), claim
    assert {"Setting", "Headline numbers", "Claims", "What the methods use", "Limits"} <= set(lines)
    assert not re.search(r"\*\*|\||^#|`", shown.words, re.MULTILINE)  # Markdown that was not rendered


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_an_image_with_a_size(name, reading):
    assert min(reading.results[f"{name}.png"].pixels) > 100


@pytest.mark.parametrize("exhibit", EXHIBITS.values(), ids=lambda exhibit: exhibit.files[-1])
def test_a_caption_is_read_whole_and_rendered(exhibit, reading):
    shown = reading.results[exhibit.files[-1]].caption
    assert not RAW.search(shown), shown
    assert _words(shown) == _words(exhibit.caption)


def test_workflow_statistics_packages_and_rules_show(reading):
    assert {name for name, colours in reading.charts.items() if colours > 10} == {"workflow", "runtimes", "timeline"}
    assert not RAW.search(reading.texts["workflow"])
    assert _words((ROOT / "workflow/report/workflow.rst").read_text(encoding="utf-8")) == _words(
        reading.texts["workflow"]
    )
    packages = {name: text for name, text in reading.texts.items() if name.startswith("about ")}
    assert len(packages) > 10
    assert all(len(text) > 100 for text in packages.values())
    assert "python {params.script:q} --plan {params.plan:q}" in reading.texts["rule"]


def test_no_script_fails_and_nothing_is_loaded_from_outside(reading):
    assert reading.problems == []


def test_a_damaged_report_is_seen_as_such(report_zip, tmp_path):
    with ZipFile(report_zip) as whole, ZipFile(tmp_path / "damaged.zip", "w") as damaged:
        for name, content in _damaged(whole):
            damaged.writestr(name, content)
    reading = read(tmp_path / "damaged.zip")
    assert reading.results["main.png"].pixels == (0, 0)
    assert reading.results["main.html"].rows == 0
    assert any(problem.startswith("failed: file:") and "cost.png" in problem for problem in reading.problems)
    assert any(problem.startswith("leaves the report: https://example.org/") for problem in reading.problems)
    assert any(problem.startswith("script:") and "broken on purpose" in problem for problem in reading.problems)


def _damaged(archive: ZipFile) -> Iterator[tuple[str, bytes]]:
    """A report's files: an image cut short, an empty table, a lost figure, scripts from outside and with an error."""
    faults = b'<script src="https://example.org/x.js"></script><script>throw Error("broken on purpose")</script>'
    for name in archive.namelist():
        content, file = archive.read(name), Path(name).name
        if file == "main.png":
            yield name, content[:50]
        elif file == "main.html":
            yield name, b"<table><tbody></tbody></table>"
        elif file == "report.html":
            yield name, content.replace(b"</head>", faults + b"</head>", 1)
        elif file != "cost.png":
            yield name, content


def _words(text: str) -> list[str]:
    return re.sub(r"[*`]", "", text).split()
