"""The workflow runs where it does not lie: from another directory, after a move, as a module of another workflow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.dry_runs import planned, pretend_finished, snakemake
from tests.workflow.small_study import MINI, ROOT, job_counts

AROUND = """
configfile: "around.yaml"

module sap:
    snakefile: "{snakefile}"
    config: config["study"]

use rule * from sap as sap_*

onstart:
    sap.onstart()

rule around:
    default_target: True
    input: rules.sap_tables.output
    output: "around.txt"
    shell: "wc -l {{input}} > {{output}}"
"""


def checkout(folder: Path) -> Path:
    """A copy of what a checkout holds beside the library."""
    for name in ("workflow", "profiles"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder)
    return folder


def workflow_around(folder: Path) -> Path:
    """A workflow in `folder` that has the small study as its module."""
    folder.mkdir()
    (folder / "Snakefile").write_text(AROUND.format(snakefile=ROOT / "Snakefile"), encoding="utf-8")
    (folder / "around.yaml").write_text(yaml.safe_dump({"samples": 3, "study": MINI}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_from_another_directory_the_scripts_and_the_shipped_config_are_found_and_results_lie_there(snakefile, tmp_path):
    there = tmp_path / "another place"
    there.mkdir()
    printed = snakemake(there, MINI, "--snakefile", str(ROOT / snakefile), "--dry-run", "-p")
    assert job_counts(printed)["train_client"] == 5
    assert f"python {ROOT}/workflow/scripts/train_client.py --plan results/plans/train_client-" in printed
    assert {path.name for path in there.iterdir()} <= {".snakemake", "results"}


def test_what_one_directory_finished_is_finished_seen_from_another(finished):
    """Only where a script lies differs, and that is no code."""
    assert planned(finished.folder, MINI, "--snakefile", str(ROOT / "Snakefile")) == {}


def test_a_checkout_that_moved_with_its_results_has_nothing_to_do(tmp_path):
    old, new = checkout(tmp_path / "old place"), tmp_path / "new place"
    pretend_finished(old, MINI)
    assert str(old) not in snakemake(old, MINI, "--dry-run", "--forceall", "-p").split("Building DAG of jobs")[1]
    old.rename(new)
    assert planned(new, MINI) == {}


def test_a_module_takes_its_config_as_an_overlay_and_leaves_the_command_line_to_the_workflow_around(tmp_path):
    printed = snakemake(workflow_around(tmp_path / "around"), {"other": 1}, "--dry-run", "--config", "samples=4")
    counts = job_counts(printed)
    assert counts["sap_train_client"] == 5
    assert counts["around"] == 1


@pytest.mark.slow
def test_a_module_makes_the_same_tables_in_a_directory_with_a_space(tmp_path, finished):
    """From the clients of a finished study: what is tested are the paths of its jobs, not their work."""
    around, there = workflow_around(tmp_path / "around"), tmp_path / "another place"
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.folder / name, there / name)
    for name in ("evaluate", "tables", "experiments"):
        shutil.rmtree(there / "results" / name)
    (around / "around.yaml").rename(there / "around.yaml")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", around / "Snakefile"]
    found = subprocess.run(
        [*command, "--directory", there],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SAP_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert job_counts(found.stdout + found.stderr) == {"sap_evaluate": 2, "sap_tables": 1, "around": 1}
    assert (there / "around.txt").exists()
    assert (there / "results/experiments/mini.json").exists()
    main = "results/tables/mini/main.csv"
    assert (there / main).read_bytes() == (finished.folder / main).read_bytes()
