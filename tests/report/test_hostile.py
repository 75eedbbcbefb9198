"""A study whose domains and methods are called like commands of every format: its report only shows the names."""

import csv
import re

import pytest

from sap.report.catalogue import TABLES
from sap.report.frame import load_results
from sap.report.make import make_exhibits
from tests.latex import needs_latex, typeset
from tests.report.synthetic import write_experiment

DOMAINS = (
    "<script>alert(1)</script>".replace("/", "\u2215"),  # no folder is called with a slash
    "=1+1|cmd",
    "Σ_$x$ & {y} 50% \\input #1 ~^ クリップ",
    "[a](javascript:x) `b` **c**\u2028d",
    "15",
    "NA",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    plan = write_experiment(tmp_path_factory.mktemp("hostile"), views=("main", "path"), domains=DOMAINS, seeds=(0,))
    return load_results(plan)


@pytest.fixture(scope="module")
def tables(results, tmp_path_factory):
    return made(results, tmp_path_factory.mktemp("tables"))


def made(results, folder):
    """The folder with every table in it."""
    make_exhibits("tables", results, folder)
    make_exhibits("headroom_table", results, folder)
    return folder


def test_no_page_or_text_holds_a_tag_of_a_name(tables):
    pages = [*tables.glob("*.html"), *tables.glob("*.md")]
    assert len(pages) > 40
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text, path.name
        assert 'href="javascript' not in text, path.name
        assert "\u2028" not in text or path.suffix == ".html", path.name


def test_every_row_of_a_markdown_table_has_the_columns_of_its_header(tables):
    for path in tables.glob("*.md"):
        rows = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        counts = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
        if path.stem == "summary":  # two tables
            assert set(counts) == {5, 6}
        elif rows:
            assert len(set(counts)) == 1, path.name


def test_no_text_of_a_csv_file_is_a_formula_and_numbers_are_as_they_were(tables):
    texts, numbers = 0, 0
    for path in tables.glob("*.csv"):
        with open(path, encoding="utf-8", newline="") as handle:
            for cell in (cell for row in csv.reader(handle) for cell in row):
                if cell[:1] in tuple("=+-@\t\r"):
                    float(cell)
                    numbers += 1
                texts += cell.startswith("'=1+1")
    assert numbers > 20
    assert texts > 5


def test_figures_of_such_names_are_drawn(results, tmp_path):
    make_exhibits("figures", results, tmp_path)
    assert len(list(tmp_path.glob("*.pdf"))) == 21


def test_names_that_look_like_numbers_or_nothing_are_still_names(results):
    assert {"15", "NA"} <= set(results.files["diagnose", "agreement"]["client_b"])


@needs_latex
@pytest.mark.parametrize("study", ["tables", "large", "bare"])
def test_every_table_is_set_by_latex_without_other_packages_than_booktabs(study, request, tmp_path):
    found = request.getfixturevalue(study)
    folder = found if study == "tables" else made(found, tmp_path)
    fragments = [path.read_text(encoding="ascii") for path in sorted(folder.glob("*.tex"))]
    assert len(fragments) == len(TABLES)
    typeset(fragments, tmp_path)
