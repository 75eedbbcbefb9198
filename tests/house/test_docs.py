"""What the documentation shows runs as it stands there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.hypotheses import add_evidence
from tests.report.synthetic import write_experiment

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


GUIDES = {  # page -> the file that it adds, the tests that run over everything registered there, and which of them
    "adding-a-merge-method": ("merge/midrange", "tests/merge/test_methods.py", "midrange and not two_names"),
    "adding-a-criterion": ("prune/relative", "tests/prune/test_criteria.py", "relative"),
    "adding-a-finish": ("finish/mean_norm", "tests/finish/test_finishes.py", "mean_norm"),
    "adding-an-attack": ("attack/fog", "tests/attack/test_updates.py", "fog"),
}


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the library with the file of each guide as one more; runs a command in it."""
    root = tmp_path_factory.mktemp("extended")
    for folder in ("src", "docs", "workflow", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for page, (file, _, _) in GUIDES.items():
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        code = re.search(rf"```python\n# src/sap/{file}\.py\n(.*?)```", text, re.S)[1]
        (root / f"src/sap/{file}.py").write_text(code, encoding="utf-8")

    def run(*command):
        environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
        found = subprocess.run(
            [sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    run("docs/generate.py")
    return root, run


def test_the_guides_files_appear_in_schema_docs_and_command_line(extended):
    root, run = extended
    schema = json.loads((root / "src/sap/plan/config.schema.json").read_text(encoding="utf-8"))["$defs"]
    assert schema["merge"]["midrange"]["options"]["properties"]["t"]["default"] == 0.5
    assert schema["criteria"]["relative"]["needs"] == []
    assert schema["finishes"]["mean_norm"]["options"]["properties"]["of"]["default"] == "clients"
    assert schema["attacks"]["fog"]["options"]["properties"]["strength"]["default"] == 1.0
    page = (root / "docs/methods.md").read_text(encoding="utf-8")
    for row in (
        "| `midrange` | Halfway between",
        "| `relative` | \\|w\\| over the largest",
        "| `mean_norm` | The merged update at",
        "| `fog` | Gaussian noise of",
    ):
        assert row in page
    assert "midrange" in run("workflow/scripts/merge.py", "--help")
    assert "midrange" in run("workflow/scripts/merge.py", "--list")


@pytest.mark.parametrize("page", GUIDES)
def test_what_a_guide_adds_is_tested_without_a_word_about_it(extended, page):
    _, tests, chosen = GUIDES[page]
    found = extended[1]("-m", "pytest", tests, "-p", "no:xdist", "-k", chosen)
    assert int(re.search(r"(\d+) passed", found)[1]) >= (10 if "method" in page else 2), found


def test_the_guides_table_is_one_file_and_has_its_files_chapter_caption_and_code(tmp_path):
    page = (DOCS / "adding-an-exhibit.md").read_text(encoding="utf-8")
    (name,) = re.findall(r"```python\n# (src/\S+)\n", page)  # one file, and no other
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (tmp_path / name).write_text(re.search(r"```python\n# src/\S+\n(.*?)```", page, re.S)[1], encoding="utf-8")
    plan = add_evidence(write_experiment(tmp_path, views=("main",), domains=("a", "b", "c"), seeds=(0,)))
    code = f"""
from sap.pipeline import stages
from sap.report import catalogue
assert [file for file in stages()["tables"].files if file.startswith("pairs.")] == catalogue.TABLES["pairs"].files
assert "sap.findings.pairs" in catalogue.modules_of("tables")
import sys
assert not {{"pandas", "matplotlib"}} & set(sys.modules)
from sap.report.frame import load_results
from sap.report.write import write_table
exhibit = catalogue.TABLES["pairs"]
write_table(exhibit.make(load_results({str(plan)!r})), exhibit.title, exhibit.name, ".")
print(exhibit.chapter, exhibit.caption, sep="\\n")
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("4 Updates and merges\nCosine and sign conflict of each two")
    assert re.search(r"\| a \| b \| −?0\.\d{3} \| \d+\.\d \|", (tmp_path / "pairs.md").read_text(encoding="utf-8"))


def test_every_link_between_the_pages_leads_somewhere():
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
    for page in pages:
        prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
