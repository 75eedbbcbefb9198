"""Declarations of exhibits: read from the source, and refused where they cannot be."""

import subprocess
import sys

import pytest

from sap.errors import SapError
from sap.report.catalogue import CHAPTERS, EXHIBITS, TABLES, exhibits_of, gathered

GOOD = '@table("t", "Title", "2 Accuracy", reads=("toy",))\ndef make(results):\n    """Caption."""\n'


def test_a_declaration_is_read_from_the_source_with_the_docstring_as_its_caption():
    (found,) = exhibits_of("sap.stages.toy.exhibits", f"import no_such_module\n\n\n{GOOD}")
    assert (found.kind, found.name, found.title, found.chapter) == ("table", "t", "Title", "2 Accuracy")
    assert (found.reads, found.caption, found.maker) == (("toy",), "Caption.", "sap.stages.toy.exhibits.make")
    assert found.files == ["t.csv", "t.md", "t.tex", "t.html"]


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("TITLE", '"Title"', r"sap\.toy\.make declares a table that cannot be read.*Write out"),
        ("raeds", "reads", "unexpected keyword argument 'raeds'"),
        ("3 Accuracy", "2 Accuracy", "names the chapter '3 Accuracy'; there are: 1 Claims, 2 Accuracy,"),
        ("pass", '"""Caption."""', "has no docstring, so the table has no caption"),
    ],
)
def test_what_is_no_declaration_is_refused_by_name(wrong, right, said):
    with pytest.raises(SapError, match=said):
        list(exhibits_of("sap.toy", GOOD.replace(right, wrong)))


def test_two_exhibits_of_one_name_are_refused():
    one, other = exhibits_of("sap.toy", GOOD), exhibits_of("sap.other", GOOD)
    with pytest.raises(SapError, match=r"sap\.toy\.make and sap\.other\.make both make the table 't'"):
        gathered([*one, *other])


def test_every_chapter_has_something_and_every_kind_its_place():
    assert {exhibit.chapter for exhibit in EXHIBITS.values()} == set(CHAPTERS)
    assert {exhibit.stage for exhibit in EXHIBITS.values()} == {"headroom_table", "tables", "figures"}
    assert TABLES["headroom"].stage == "headroom_table"


def test_listing_all_exhibits_imports_none_of_their_makers():
    code = "import sys, sap.report.catalogue as c\nassert c.EXHIBITS\n"
    code += "assert not {'pandas', 'numpy', 'matplotlib', 'scipy', 'torch'} & set(sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
