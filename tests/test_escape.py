"""Names of others are shown and never obeyed, in each format: what is rendered reads as the name, and nothing else."""

import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sap.escape import csv_cell, latex, markdown, plain_cell, terminal
from sap.io import read_csv, write_csv
from tests.latex import needs_latex, typeset

HOSTILE = (
    "<script>alert(1)</script>", "<!-- x", "&lt;b&gt;", "![x](http://tracker.example/x.png)", "[x][y]", "`code`", "a|b",
    "[x](javascript:alert(1))", "**bold** _it_ __b__ ~~gone~~", "line\n\n# heading", "\\<b>", "\\input{/etc/passwd}",
    "\\end{tabular}", "$x$ 50% #1 {a} ~ ^ & _", '=HYPERLINK("http://x")', "'=1", "-2+3", "@SUM(A1)", "\tx", "\rx",
    "\x1b[31mred", "\x1b]0;title\x07", "a\x00b", "\u202egnp.exe", "\x9b2J", "Σ ρ ≤ ½ é Łódź", "クリップ 🎨", "a--b",
    "?`",
)  # fmt: skip
texts = st.text() | st.text("=+-@'\t\n\r<>&[]()`*_~|\\!#a0 ./:", max_size=12) | st.sampled_from(HOSTILE)


class Text(HTMLParser):
    """Tags and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@settings(deadline=None)
@given(texts)
def test_markdown_shows_a_name_as_it_is(name):
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found = Text(page.render(f"| x{markdown(name)}x |\n| --- |\n"))
    assert found.tags == ["table", "thead", "tr", "th"]
    one_line = re.sub(r"\s+", " ", name)
    assert found.text.strip() == f"x{terminal(one_line)}x"


def test_markdown_leaves_our_own_numbers_and_names_readable():
    for text in ("taylor_absolute ρ=0.5 → mean, 32 anchors", "+1.2 [−0.3, 2.7]", "< 0.001", "62.1 ± 0.4 ↓", "a & b"):
        assert markdown(text) == text


@settings(deadline=None)
@given(texts)
def test_a_text_in_a_csv_file_is_no_formula_and_reads_back(name):
    written = csv_cell(name)
    assert written[:1] not in tuple("=+-@＝＋－＠\t\r\n")
    assert plain_cell(written) == name


def test_a_csv_file_keeps_its_numbers_and_gives_back_its_names(tmp_path):
    names = [name for name in HOSTILE if "\r" not in name]  # no name of ours: `terminal` changes it
    rows = [{"name": name, "value": -0.5} for name in names]
    write_csv(tmp_path / "rows.csv", rows, ["name", "value"])
    read = read_csv(tmp_path / "rows.csv")
    assert [plain_cell(row["name"]) for row in read] == names
    assert {row["value"] for row in read} == {"-0.5"}
    assert {row["name"][0] for row in read if "=HYPERLINK" in row["name"] or "SUM" in row["name"]} == {"'"}


@settings(deadline=None)
@given(texts)
@example("\udcff")
def test_a_terminal_gets_one_line_without_commands(name):
    printed = terminal(name)
    assert not {unicodedata.category(character) for character in printed} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(printed) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")


def test_a_terminal_shows_what_a_command_would_have_been():
    assert terminal("\x1b[31mρ\n\u202e\udcff") == r"\x1b[31mρ\n\u202e\xff"


SCRIPT = r"""
import argparse, sys
from sap.cli import run
from sap.errors import SapError

def main(args):
    print("a\x1b[31mb\tc")
    raise SapError("client '\x1b]0;owned\x07' is unknown.")

run(main, argparse.ArgumentParser().parse_args)
"""


def test_a_script_prints_no_command_of_a_name_in_output_or_error():
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert found.stdout == "a\\x1b[31mb\tc\n"
    assert found.stderr == "error: client '\\x1b]0;owned\\x07' is unknown.\n"


@settings(deadline=None)
@given(texts)
def test_latex_is_ascii_in_one_line_with_balanced_braces(name):
    printed = latex(name)
    assert printed.isascii()
    assert printed.isprintable()
    bare = re.sub(r"\\[\\{}]", "", printed)
    assert bare.count("{") == bare.count("}")


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("Σ Δ ρ λ", r"$\Sigma$ $\Delta$ $\rho$ $\lambda$"),
        ("1 ± 2 × 3 ↓", r"1 $\pm$ 2 $\times$ 3 $\downarrow$"),
        ("Łódź, é", r"\L{}\'{o}d\'{z}, \'{e}"),
        ("x² a--b", r"x$^{2}$ a-{}-b"),
        ("ク", r"\texttt{U+30AF}"),
        ("[0, 1] *", "{}[0, 1] *"),
    ],
)
def test_latex_needs_no_package_for_a_name(name, printed):
    assert latex(name) == printed


@needs_latex
def test_latex_sets_every_name_that_anybody_can_write(tmp_path):
    characters = [chr(code) for code in range(0x3100) if not unicodedata.category(chr(code)).startswith("C")]
    lines = [latex(f"x{character}y") for character in characters]
    typeset(["\n\n".join([*lines, *map(latex, HOSTILE)])], tmp_path)
