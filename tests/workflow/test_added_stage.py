"""docs/adding-a-stage.md, word by word, on a finished study: what the new stage appears in, and what runs again."""

import re

import pytest

from sap.io import read_csv
from tests.workflow.clone import Clone
from tests.workflow.small_study import MINI, ROOT, job_counts

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/adding-a-stage.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.S))
LINE, BEFORE = re.search(r'`("norms",)` before `("headroom_table",)`', PAGE).groups()


@pytest.fixture(scope="module")
def extended(finished, tmp_path_factory):
    """A clone with the page's stage, beside a copy of the finished small study."""
    root, study = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("study")
    clone = Clone(root, study, finished, FILES, MINI | {"norms": {"measure": True}})
    pipeline = root / "src/sap/pipeline.py"
    text = pipeline.read_text(encoding="utf-8")
    assert text.count(f"    {BEFORE}\n") == 1
    pipeline.write_text(text.replace(f"    {BEFORE}\n", f"    {LINE}\n    {BEFORE}\n"), encoding="utf-8")
    clone.generate()
    return clone


def test_a_stage_with_options_a_table_and_a_figure_is_at_most_ten_files_and_none_in_plan_or_report():
    touched = {*FILES, "src/sap/pipeline.py"}
    assert len(touched) + 1 <= 10  # its test
    assert not [name for name in touched if name.startswith(("src/sap/plan", "src/sap/report"))]


def test_the_new_stage_is_planned_explained_run_shown_and_cleaned_up_and_nothing_else_runs_again(extended):
    root, study = extended.root, extended.study
    assert "## norms\n" in (root / "docs/configuration.md").read_text(encoding="utf-8")
    assert "| `norms` |" in (root / "docs/invalidation.md").read_text(encoding="utf-8")
    planned = job_counts(extended.snakemake("--dry-run"))
    report = dict.fromkeys(("headroom_table", "tables", "figures"), 1)  # they share a plan
    assert planned == {"norms": 1} | report
    assert "norms: 1 job" in extended.sap("why", *extended.config)
    extended.snakemake()
    (folder,) = study.glob("results/norms/*/seed-0")
    rows = read_csv(folder / "norms.csv")
    assert [row["client"] for row in rows] == ["handwritten", "sketch", "printed"]
    assert all(float(row["norm"]) > 0 for row in rows)
    index = {row["stage"]: row for row in read_csv(study / "results/index.csv")}
    assert index["norms"]["id"] == folder.parent.name
    assert index["norms"]["settings"] == '{"order":2.0}'
    shown = {path.name for path in study.glob("results/*/mini/norms.*")}
    assert shown == {f"norms.{suffix}" for suffix in ("csv", "md", "tex", "html", "pdf", "png")}
    assert re.search(r"norms +1\b", extended.sap("status", *extended.config))
    extended.snakemake("--report", "report.html")
    assert "How long the clients' updates are" in (study / "report.html").read_text(encoding="utf-8")
    profiles = ("-m", "pytest", "-q", "-k", "norms or slurm_gives", "tests/workflow/test_profiles.py")
    assert "2 passed" in extended.python(*profiles, "-o", "addopts=--import-mode=importlib", folder=root)
    assert "norms" not in extended.sap("unused")
    extended.sap("unused", "--forget", "mini")
    assert re.search(rf"norms +{folder.parent.name}", extended.sap("unused"))
