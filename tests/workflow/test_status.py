"""Seeing the real workflow work: status, why and unused on the small study."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sap.pipeline import build_study
from sap.plan.overlays import read_config
from sap.plan.stage import UPLOAD
from sap.progress import read_heartbeat
from tests.workflow.small_study import MINI, ROOT, Workflow, edited

pytestmark = pytest.mark.slow


def call(workflow: Workflow, script: str, *arguments: str, **environment: str) -> str:
    """What a script prints, called as `make` does in the working folder."""
    overlay = workflow.folder.parent / f"{workflow.folder.name}.yaml"
    overlay.write_text(yaml.safe_dump(workflow.overlay), encoding="utf-8")
    options = [] if script == "unused" else ["--configfile", str(overlay)]
    found = subprocess.run(
        [sys.executable, ROOT / f"workflow/scripts/{script}.py", *arguments, *options],
        cwd=workflow.folder,
        env=os.environ | {"SAP_DEVICE": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def counts(status: str) -> dict[str, int]:
    """{state: jobs} over all stages of what `status` prints."""
    header, _, *lines = status.split("\n\n")[1].splitlines()
    ends = {state: header.index(state) + len(state) for state in ("not started", "running", "incomplete", "done")}
    return {
        state: sum(int(line[:end].split()[-1]) for line in lines if _ends(line, end)) for state, end in ends.items()
    }


def _ends(line: str, end: int) -> bool:
    return line[end - 1 : end].isdigit()


def test_the_jobs_of_the_plan_are_the_jobs_that_snakemake_ran(finished):
    study = build_study(read_config([_overlay(finished)], finished.folder / "config.yaml"))
    jobs = study.jobs
    ran = {str(path.relative_to(finished.folder)) for path in finished.glob("results/benchmarks/**/*.tsv")}
    assert {job.benchmark for job in jobs} == ran
    outputs = {Path(path) for job in jobs for path in job.outputs}
    for folder in {path.parent for path in outputs}:
        left = {folder / path.name for path in (finished.folder / folder).iterdir() if path.name != UPLOAD}
        assert left - {folder / "pretrain.jsonl"} == {path for path in outputs if path.parent == folder}


def _overlay(workflow: Workflow) -> Path:
    path = workflow.folder.parent / f"{workflow.folder.name}-plan.yaml"
    path.write_text(yaml.safe_dump(workflow.overlay), encoding="utf-8")
    return path


def test_a_finished_study_is_done_used_and_has_nothing_to_run(finished):
    status = call(finished, "status")
    found = counts(status)
    assert found == {"not started": 0, "running": 0, "incomplete": 0, "done": 26}
    assert "Everything is there." in status
    assert "zero-shot" in status
    assert "missing" not in status.split("Main table so far")[1].split("ties")[0]
    assert call(finished, "why") == "Nothing would run: every file that is asked for is there.\n"
    assert listed(finished) == set()


def listed(workflow: Workflow, *arguments: str) -> set[tuple[str, str]]:
    """(folder, id) that `unused` lists, without plans: dry runs of other tests leave some."""
    lines = call(workflow, "unused", *arguments).split("\n-", 1)
    named = {tuple(line.split()[:2]) for line in lines[-1].splitlines()[1:-1]} if len(lines) > 1 else set()
    return {(folder, name) for folder, name in named if folder != "plans"}


def files(workflow: Workflow) -> set[Path]:
    return {path for path in workflow.glob("results/**/*") if "plans" not in path.parts}


def test_watching_ends_when_everything_is_done(finished):
    assert call(finished, "status", "--watch", "1").count("Experiment mini") == 1


def test_none_of_the_scripts_imports_torch(finished):
    blocked = finished.folder.parent / "blocked"
    (blocked / "torch").mkdir(parents=True, exist_ok=True)
    (blocked / "torch" / "__init__.py").write_text(
        "raise ImportError('torch is not for this script')", encoding="utf-8"
    )
    for script in ("status", "why", "unused"):
        call(finished, script, PYTHONPATH=f"{blocked}:{os.environ.get('PYTHONPATH', '')}")


def test_a_training_is_seen_running_and_after_a_kill_incomplete(copied):
    copied.configure(edited("train.epochs", 2000))
    call(copied, "status")
    job = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", "clients", "--configfile", "../copy.yaml"],
        cwd=copied.folder,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SAP_DEVICE": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(1200):
            beats = [read_heartbeat(path.parent) for path in copied.glob("results/train_client/*/*/*/.progress.json")]
            if any(beat and beat.done for beat in beats):
                break
            time.sleep(0.1)
        running = call(copied, "status")
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert counts(running)["running"] == 1
    assert ", seed 0: epoch " in running.split("Trainings\n")[1]
    killed = call(copied, "status")
    assert (counts(killed)["running"], counts(killed)["incomplete"]) == (0, 1)
    assert "Trainings" not in killed


def test_lost_rows_and_tables_are_seen_and_the_table_says_what_is_missing(copied):
    (rows,) = copied.glob("results/evaluate/*/sketch/seed-0/shard-0/rows.jsonl")
    lines = rows.read_text(encoding="utf-8").splitlines(keepends=True)
    rows.write_text("".join(lines[: len(lines) // 2]), encoding="utf-8")
    status = call(copied, "status")
    assert counts(status)["incomplete"] >= 1
    assert "missing" in status.split("Main table so far")[1]
    assert "left (one at a time; nothing runs)" in status


def test_why_names_the_edited_learning_rate_and_a_dry_run_records_no_experiment(copied):
    shutil.rmtree(copied.folder / "results/experiments")
    copied.configure(edited("train.learning_rate", 0.005))
    why = call(copied, "why")
    assert "train_client: 5 jobs\n  5 of them" not in why
    assert "train.learning_rate 0.003 -> 0.005" in why.split("train_client: 5 jobs")[1].splitlines()[1]
    assert "prepare_backbone" not in why
    assert not (copied.folder / "results/experiments").exists()


def test_why_names_the_point_that_came_and_counts_the_rows_that_stay(copied):
    overlay = {**MINI, "points": [*MINI["points"], {"views": ["path"], "merge": "ties", "scale": 0.5}]}
    copied.configure(overlay)
    why = call(copied, "why")
    assert "evaluate: 2 jobs" in why
    assert "1 new point: ties, λ=0.5" in why or "1 new point: ties" in why
    assert "train_client" not in why
    assert "1 row of 1 point to judge" in why


def test_why_names_the_module_that_was_edited(copied, tmp_path):
    library = tmp_path / "library"
    shutil.copytree(ROOT / "src/sap", library / "src/sap")
    shutil.copytree(ROOT / "workflow", library / "workflow")
    ties = library / "src/sap/merge/ties.py"
    ties.write_text(ties.read_text(encoding="utf-8") + "\nANOTHER_FORMULA = 1\n", encoding="utf-8")
    why = call(copied, "why", PYTHONPATH=str(library / "src"))
    assert "code of its points was edited: sap.merge.ties\n" in why
    assert "rows of 1 point to judge" in why
    assert "snakemake --touch" in why
    assert "train_client" not in why


def test_an_unused_id_is_listed_and_goes_only_with_delete(copied):
    (client,) = copied.glob("results/train_client/*/sketch")
    other = client.parent.with_name("digits-r2-0123456789")
    shutil.copytree(client, other / "sketch")
    before = files(copied)
    assert listed(copied) == {("train_client", "digits-r2-0123456789")}
    assert files(copied) == before
    assert "Removed" in call(copied, "unused", "--delete")
    assert files(copied) == {path for path in before if not path.is_relative_to(other)}


def test_without_any_recorded_experiment_nothing_is_deleted(copied):
    assert "none" in call(copied, "unused", "--forget", "mini")
    found = subprocess.run(
        [sys.executable, ROOT / "workflow/scripts/unused.py", "--delete"],
        cwd=copied.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert "no experiment is recorded" in found.stderr
    assert copied.glob("results/train_client/*/*/seed-0/meta.json")


def test_a_run_records_what_its_experiment_uses(finished):
    recorded = json.loads((finished.folder / "results/experiments/mini.json").read_text(encoding="utf-8"))
    assert recorded["settings"]["experiment"] == "mini"
    assert all(
        (finished.folder / path).exists()
        for path in recorded["uses"]
        if "/prune/" not in path and "/merge/" not in path
    )
