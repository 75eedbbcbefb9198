"""Cleaning up: what a recorded experiment uses stays, links and living jobs are left alone."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from sap.errors import SapError
from sap.pipeline import build_study, stages
from sap.plan import unused
from sap.plan.folds import shard_plan
from sap.plan.manifest import store_plan
from sap.plan.records import experiments, forget, record, version_warnings
from sap.plan.unused import remove
from sap.progress import Heartbeat, born_at
from sap.provenance import versions


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(study) -> None:
    """Every job's files, as a run leaves them."""
    for job in study.jobs:
        for path in [*job.outputs, job.benchmark]:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text("{}", encoding="utf-8")


def plans_of(study) -> list[str]:
    return [store_plan(shard_plan(study, "photo", seed, 0), "evaluate") for seed in study.seeds]


def find_unused(used: set[str]) -> list[unused.Unused]:
    return unused.find_unused(used, stages())


def used() -> set[str]:
    return {path for experiment in experiments().values() for path in experiment["uses"]}


def files() -> set[Path]:
    return {path for path in Path("results").rglob("*") if path.is_file()}


def test_everything_that_a_recorded_experiment_uses_is_used(evidence):
    study = build_study(evidence)
    make(study)
    record(study, plans_of(study))
    for stage in ("merge", "prune"):
        Path(f"results/{stage}/{study.cohort.id}/{study.points[0].id}/photo/seed-0").mkdir(parents=True)
    Path(f"{study.clients[0].folder(0).removesuffix('/upload')}.resume").mkdir()
    Path("results/index.csv").write_text("stage,id,settings\n", encoding="utf-8")
    assert find_unused(used()) == []


def test_another_experiments_trainings_stay_and_a_replaced_ones_go(config, changed):
    first, second = build_study(config), build_study(changed("train.learning_rate", 0.005))
    for study in (first, second):
        make(study)
    record(first, plans_of(first))
    before = files()
    record(second, plans_of(second))  # of the same name: the experiment was edited
    found = find_unused(used())
    assert {entry.stage for entry in found} >= {
        "train_client",
        "score_client",
        "evaluate",
        "audit",
        "diagnose",
        "benchmarks",
        "plans",
    }
    former = {trainee.train_id for trainee in first.trainees}
    assert {entry.name for entry in found if entry.stage == "train_client"} == former
    for entry in found:
        remove(entry)
    kept = {Path(path) for job in second.jobs for path in job.outputs}
    assert kept <= files()
    assert not any(name in str(path) for path in files() for name in former)
    assert before - files()


def test_the_stages_behind_the_claims_go_with_their_experiment(evidence):
    study = build_study(evidence)
    make(study)
    left = {entry.stage: entry for entry in find_unused(set())}
    for stage in ("headroom", "compare_towers", "compare_masks", "probe", "privacy"):
        folders = {job.folder for job in study.jobs if job.stage.name == stage}
        assert folders
        assert {str(path) for path in left[stage].paths} == folders


def test_a_link_and_what_lies_behind_it_are_left_alone(tmp_path):
    elsewhere = tmp_path / "elsewhere" / "seed-0"
    elsewhere.mkdir(parents=True)
    (elsewhere / "meta.json").write_text("{}", encoding="utf-8")
    Path("results/train_client/id").mkdir(parents=True)
    Path("results/train_client/id/photo").symlink_to(elsewhere.parent)
    Path("results/draw_anchors").symlink_to(elsewhere.parent)
    assert find_unused(set()) == []


def test_a_link_inside_a_removed_folder_is_removed_and_not_its_target(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "image.png").write_text("x", encoding="utf-8")
    Path("results/draw_anchors/id").mkdir(parents=True)
    Path("results/draw_anchors/id/link").symlink_to(tmp_path / "data")
    (entry,) = find_unused(set())
    remove(entry)
    assert not Path("results/draw_anchors/id").exists()
    assert (tmp_path / "data" / "image.png").exists()


def test_a_folder_in_which_a_job_is_at_work_stays():
    folder = Path("results/train_client/id/photo/seed-0")
    upload = folder / "upload"
    upload.mkdir(parents=True)
    Path(f"{folder}.resume").mkdir()
    beat = Heartbeat("train_client", socket.gethostname(), os.getpid(), born_at(os.getpid()), time.time(), time.time())
    (folder / ".progress.json").write_text(json.dumps(vars(beat)), encoding="utf-8")
    found = find_unused(set())
    assert [(entry.stage, entry.busy) for entry in found] == [("train_client", True)]
    for entry in found:
        remove(entry)
    assert folder.exists()
    assert upload.exists()
    assert Path(f"{folder}.resume").exists()


def test_files_that_the_workflow_does_not_make_are_left_alone():
    for name in ("results/notes.txt", "results/mine/file", "results/plans/code-0123456789.json", "results/README.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x", encoding="utf-8")
    assert find_unused(set()) == []


def test_a_forgotten_experiment_uses_nothing(config):
    study = build_study(config)
    make(study)
    record(study, plans_of(study))
    forget(study.name)
    assert {entry.stage for entry in find_unused(used())} >= {"prepare_domain", "train_client", "tables", "figures"}
    with pytest.raises(SapError, match=f"no experiment '{study.name}'"):
        forget(study.name)


def test_an_artifact_of_another_library_version_is_named_once(config):
    study = build_study(config)
    jobs = [job for job in study.jobs if job.stage.name == "train_client"]
    for number, job in enumerate(jobs[:3]):
        Path(job.folder).mkdir(parents=True)
        made = versions() | ({"torch": "1.0"} if number else {})
        Path(f"{job.folder}/meta.json").write_text(json.dumps({"versions": made}), encoding="utf-8")
    (sentence,) = version_warnings(jobs)
    assert f"torch is {versions()['torch']} here" in sentence
    assert "2 of train_client were made with 1.0" in sentence
    assert version_warnings(jobs, ignored=["torch"]) == []
