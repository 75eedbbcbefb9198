"""docs/adding-a-stage.md, word by word, on a finished study: what the new stage appears in, and what runs again."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sap.io import read_csv
from tests.workflow.small_study import MINI, ROOT, job_counts

pytestmark = pytest.mark.slow

SAP = ("-c", "from sap.commands.main import main; main()")

PAGE = (ROOT / "docs/adding-a-stage.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.S))
LINE, BEFORE = re.search(r'`("norms",)` before `("headroom_table",)`', PAGE).groups()


@pytest.fixture(scope="module")
def extended(finished, tmp_path_factory):
    """A clone with the page's stage, beside a copy of the finished small study; runs commands there."""
    root, study = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("study")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, names):
        if not name.startswith(("tests/", "benchmarks/")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name, follow_symlinks=False)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    pipeline = root / "src/sap/pipeline.py"
    text = pipeline.read_text(encoding="utf-8")
    assert text.count(f"    {BEFORE}\n") == 1
    pipeline.write_text(text.replace(f"    {BEFORE}\n", f"    {LINE}\n    {BEFORE}\n"), encoding="utf-8")
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.folder / name, study / name, symlinks=True)
    for name in ("Snakefile", "config.yaml", "workflow", "profiles"):
        (study / name).symlink_to(root / name)
    overlay = study.with_suffix(".yaml")
    overlay.write_text(yaml.safe_dump(MINI | {"norms": {"measure": True}}), encoding="utf-8")

    def run(*command: str, folder: Path = study) -> str:
        environment = os.environ | {"PYTHONPATH": str(root / "src"), "SAP_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        found = subprocess.run(
            [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    run("docs/generate.py", folder=root)
    return root, study, ("--configfile", str(overlay)), run


def test_a_stage_with_options_a_table_and_a_figure_is_at_most_ten_files_and_none_in_plan_or_report():
    touched = {*FILES, "src/sap/pipeline.py"}
    assert len(touched) + 1 <= 10  # its test
    assert not [name for name in touched if name.startswith(("src/sap/plan", "src/sap/report"))]


def test_the_new_stage_is_planned_explained_run_shown_and_cleaned_up_and_nothing_else_runs_again(extended):
    root, study, config, run = extended
    assert "## norms\n" in (root / "docs/configuration.md").read_text(encoding="utf-8")
    assert "| `norms` |" in (root / "docs/invalidation.md").read_text(encoding="utf-8")
    planned = job_counts(run("-m", "snakemake", "--cores", "2", "--dry-run", *config))
    report = dict.fromkeys(("headroom_table", "tables", "figures"), 1)  # they share a plan
    assert planned == {"norms": 1} | report
    assert "norms: 1 job" in run(*SAP, "why", *config)
    run("-m", "snakemake", "--cores", "2", *config)
    (folder,) = study.glob("results/norms/*/seed-0")
    rows = read_csv(folder / "norms.csv")
    assert [row["client"] for row in rows] == ["handwritten", "sketch", "printed"]
    assert all(float(row["norm"]) > 0 for row in rows)
    index = {row["stage"]: row for row in read_csv(study / "results/index.csv")}
    assert index["norms"]["id"] == folder.parent.name
    assert index["norms"]["settings"] == '{"order":2.0}'
    shown = {path.name for path in study.glob("results/*/mini/norms.*")}
    assert shown == {f"norms.{suffix}" for suffix in ("csv", "md", "tex", "html", "pdf", "png")}
    assert re.search(r"norms +1\b", run(*SAP, "status", *config))
    assert "norms" not in run(*SAP, "unused")
    run(*SAP, "unused", "--forget", "mini")
    assert re.search(rf"norms +{folder.parent.name}", run(*SAP, "unused"))
