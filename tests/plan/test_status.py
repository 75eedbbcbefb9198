"""States are read from files and heartbeats; times only from what was measured."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from sap.io import sealed
from sap.pipeline import build_study, stages
from sap.plan.stage import Identity, Job
from sap.plan.status import look, span, stage_table, sweep_line, time_left, training_lines
from sap.progress import Heartbeat, born_at


def job(stage: str, title: str = "", rows: dict | None = None, **place) -> Job:
    return Job(stages()[stage], Identity("id", {}), (), place, title, rows or {})


TRAINING = job("train_client", "photo, seed 0", trainee="photo", seed=0)
SHARD = job("evaluate", "photo, seed 0", {"a": 1, "b": 3}, target="photo", seed=0, shard=0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path: str, text: str = "x") -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return Path(path)


def rows(folder: str, *names: tuple[str, str]) -> None:
    lines = [json.dumps(sealed({"point": point, "domain": domain, "images": "test"})) + "\n" for point, domain in names]
    write(f"{folder}/rows.jsonl", "".join(lines))


def beat(job: Job, alive: bool = True, **counts) -> None:
    born = born_at(os.getpid()) if alive else "1"
    now = {"stage": job.stage.name, "host": socket.gethostname(), "pid": os.getpid(), "born": born}
    written = Heartbeat(**now, started=time.time(), updated=time.time(), **counts)
    write(f"{job.folder}/.progress.json", json.dumps(vars(written)))


def state(job: Job) -> str:
    (seen,) = look([job])
    return seen.state


def test_a_job_without_files_has_not_started_and_one_with_all_is_done():
    assert state(TRAINING) == "not started"
    *first, last = TRAINING.outputs
    for path in first:
        write(path)
        assert state(TRAINING) == "incomplete"
    write(last)
    assert state(TRAINING) == "done"


def test_a_living_heartbeat_means_running_and_a_dead_one_incomplete():
    beat(TRAINING)
    assert state(TRAINING) == "running"
    beat(TRAINING, alive=False)
    assert state(TRAINING) == "incomplete"


@pytest.mark.parametrize("side", [".resume/state.safetensors", ".progress/rows.jsonl"])
def test_what_a_killed_job_has_saved_makes_it_incomplete(side):
    write(f"{TRAINING.folder}{side}")
    assert state(TRAINING) == "incomplete"


def test_an_evaluation_is_done_when_every_point_has_all_its_rows():
    rows(SHARD.folder, ("a", "photo"), ("b", "photo"), ("b", "sketch"), ("of another experiment", "photo"))
    (seen,) = look([SHARD])
    assert (seen.state, seen.rows, seen.points) == ("incomplete", 3, 1)
    rows(f"{SHARD.folder}.progress", ("b", "printed"))
    (seen,) = look([SHARD])
    assert (seen.state, seen.rows, seen.points) == ("incomplete", 4, 2)  # not yet in the declared file
    (Path(f"{SHARD.folder}.progress") / "rows.jsonl").unlink()
    Path(f"{SHARD.folder}.progress").rmdir()
    for path in SHARD.outputs:
        write(path)
    rows(SHARD.folder, ("a", "photo"), ("b", "photo"), ("b", "sketch"), ("b", "printed"))
    assert state(SHARD) == "done"


def test_a_damaged_row_does_not_count():
    rows(SHARD.folder, ("a", "photo"))
    path = Path(f"{SHARD.folder}/rows.jsonl")
    path.write_text(path.read_text(encoding="utf-8").replace('"a"', '"b"'), encoding="utf-8")
    assert look([SHARD])[0].rows == 0


@pytest.mark.parametrize(
    "stage", ["diagnose", "audit", "headroom", "compare_towers", "compare_masks", "probe", "privacy"]
)
def test_tables_older_than_what_they_show_are_as_good_as_missing(stage):
    table, row = job("complete"), job(stage, domain="photo", target="photo", seed=0)
    for path in row.outputs:
        os.utime(write(path), (2000, 2000))
    (shown,) = table.outputs
    os.utime(write(shown), (1000, 1000))
    assert [seen.state for seen in look([row, table])] == ["done", "incomplete"]
    os.utime(shown, (3000, 3000))
    assert [seen.state for seen in look([row, table])] == ["done", "done"]


def test_the_table_counts_every_job_once():
    beat(TRAINING)
    (first, second) = stage_table(look([TRAINING, SHARD]))
    assert first == {"stage": "train_client", "not started": 0, "running": 1, "incomplete": 0, "done": 0}
    assert second == {"stage": "evaluate", "not started": 1, "running": 0, "incomplete": 0, "done": 0}


def test_a_running_training_says_how_far_it_is():
    beat(TRAINING, done=25, total=100, unit="step", rate=2.0)
    write(f"{TRAINING.folder}/train.jsonl", '{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25}\n')
    (line,) = training_lines(look([TRAINING]), epochs=10, batch_size=64)
    assert line == "photo, seed 0: epoch 3 of 10, step 25 of 100, 128 images/s, loss 0.250, 38 s left"


def test_a_running_sweep_counts_the_rows_that_are_not_saved_yet():
    rows(SHARD.folder, ("a", "photo"))
    beat(SHARD, done=2, total=3, unit="row", rate=1.0)  # three were missing when it began
    (seen,) = look([SHARD])
    assert (seen.rows, seen.points) == (3, 1)
    assert sweep_line([seen]) == "1 of 2 points (each target and seed counts), 0.5 points/s, 2 s left at this speed"


def test_no_time_is_invented_where_nothing_was_measured():
    (line,) = time_left(look([TRAINING, SHARD]))
    assert line == "unknown, because no such job has finished here: train_client (1), evaluate (1)"


def test_the_time_left_is_the_mean_of_finished_jobs_times_what_is_left():
    other = job("train_client", "sketch, seed 0", trainee="sketch", seed=0)
    write(TRAINING.benchmark, "s\th:m:s\n40.0\t0:00:40\n")
    for path in TRAINING.outputs:
        write(path)
    lines = time_left(look([TRAINING, other]))
    assert lines == [
        "about 40 s left (one at a time; nothing runs)",
        "from finished jobs: train_client 40 s (mean of 1)",
    ]
    beat(other, done=90, total=100, rate=1.0)
    assert time_left(look([TRAINING, other]))[0] == "about 10 s left (1 at a time, as now)"


def test_jobs_of_other_settings_stand_in_and_are_named_as_such():
    write("results/benchmarks/train_client/older/photo/seed-0.tsv", "s\n30.0\n")
    assert time_left(look([TRAINING]))[1] == "from finished jobs: train_client 30 s (mean of 1 of other settings)"


def test_time_left_ends_when_everything_is_there():
    for path in TRAINING.outputs:
        write(path)
    assert time_left(look([TRAINING])) == ["Everything is there."]


@pytest.mark.parametrize(("seconds", "text"), [(48, "48 s"), (720, "12 min"), (12000, "3 h 20 min")])
def test_spans_are_readable(seconds, text):
    assert span(seconds) == text


def test_every_job_of_a_study_has_its_own_folder(config):
    jobs = build_study(config).jobs
    assert len({job.folder for job in jobs if not job.stage.beside}) == sum(not job.stage.beside for job in jobs)
    assert len({job.benchmark for job in jobs}) == len(jobs)
    assert len({path for job in jobs for path in job.outputs}) == sum(len(job.outputs) for job in jobs)
