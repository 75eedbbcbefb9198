"""Pages of the HTML report: they say what the table says, load nothing."""

import re
from urllib.parse import unquote

import pandas as pd
import pytest

from sap.report.page import page, prose
from sap.report.table import Column, Table, number, text

FRAME = pd.DataFrame({"method": ["a & <b>", "c"], "group": ["first", "second"], "share": [0.123456789, 0.5]})
COLUMNS = [Column("method", text("method")), Column("share, %", number("share", "{:.1f}", 100))]


@pytest.fixture
def shown() -> str:
    return page(Table(FRAME, COLUMNS, "Nothing here.", section="group", notes=["0 < 1"]), "Title & more", "main")


def test_cells_sections_and_notes_are_shown_and_escaped(shown):
    assert re.findall(r"<td[^>]*>(.*?)</td>", shown) == ["a &amp; &lt;b&gt;", "12.3", "c", "50.0"]
    assert re.findall(r"<th(?: [^>]*)?>(.*?)</th>", shown) == ["method", "share, %", "first", "second"]
    assert "<p>0 &lt; 1</p>" in shown
    assert "<h1>Title &amp; more</h1>" in shown


def test_numbers_stand_right_words_left_and_sentences_wrap():
    frame = pd.DataFrame({"a": ["x", "y"], "b": ["–", "−1.2"], "c": ["–", "missing"], "d": ["short", "long " * 20]})
    columns = [Column(name, text(name)) for name in frame]
    first = re.search("<tbody>\n<tr>(.*)</tr>", page(Table(frame, columns, ""), "t", "t")).group(1)
    assert re.findall('<td class="(.*?)">', first) == ["words", "number", "number", "sentence"]


def test_the_page_holds_the_csv_in_full_precision_and_loads_nothing(shown):
    links = re.findall(r'(?:href|src)="(.*?)"', shown)
    assert [unquote(link).split(",", 1)[1] for link in links] == [FRAME.to_csv(index=False)]
    assert links[0].startswith("data:text/csv")
    assert "url(" not in shown
    assert "@import" not in shown


def test_a_table_without_rows_says_so():
    shown = page(Table(FRAME.iloc[:0], COLUMNS, "No `<here>`."), "Title", "main")
    assert "<p>No <code>&lt;here&gt;</code>.</p>" in shown
    assert "<table" not in shown


def test_a_text_is_rendered_with_its_tables_and_its_html_is_shown_as_written():
    shown = prose("# Study\n\n| a | b |\n|---|--:|\n| x < y | **1** |\n\n<script>alert(1)</script>\n", "Title & more")
    assert "<title>Title &amp; more</title>" in shown
    assert "<h1>Study</h1>" in shown
    assert "<td>x &lt; y</td>" in shown
    assert "<strong>1</strong>" in shown
    assert "<script" not in shown
