"""The heartbeat of a job: what others see of it while it runs, after it, and after a kill."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sap import progress
from sap.progress import Heartbeat, bar, heartbeat, read_heartbeat

SCRIPT = """
import argparse, sys, time
from pathlib import Path
from sap.cli import run
from sap.errors import SapError
from sap.progress import bar

def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--code", default="")
    parser.add_argument("--fail", action="store_true")
    return parser.parse_args()

def main(args):
    if args.fail:
        raise SapError("wrong.")
    for _ in bar(range(1000), unit="row", disable=True):
        time.sleep(0.05)

run(main, parse_args)
"""


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "count_rows.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def wait_for(condition):
    for _ in range(600):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.fixture
def out(tmp_path) -> Path:
    """The folder of a job, which Snakemake has made."""
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def test_a_job_shows_its_stage_and_counts_and_after_a_kill_it_counts_as_dead(script, out):
    job = subprocess.Popen([sys.executable, script, "--out", out, "--code", "abc"])
    try:
        found = wait_for(lambda: (beat := read_heartbeat(out)) and beat.done and beat)
        assert (found.stage, found.pid, found.total, found.unit) == ("count_rows", job.pid, 1000, "row")
        assert found.alive
        assert found.rate > 0
        assert found.seconds_left == pytest.approx((1000 - found.done) / found.rate)
    finally:
        job.kill()
    # The file stays, the process does not: first as a zombie, whose parent has not asked for its status, then at all.
    wait_for(lambda: not read_heartbeat(out).alive)
    job.wait()
    assert not read_heartbeat(out).alive


def test_a_cancelled_job_takes_its_heartbeat_along(script, out):
    job = subprocess.Popen([sys.executable, script, "--out", out, "--code", "abc"])
    try:
        wait_for(lambda: read_heartbeat(out))
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=60) == 143
    finally:
        job.kill()
    assert list(out.iterdir()) == []


def test_a_failing_job_leaves_none_and_says_its_sentence(script, out):
    found = subprocess.run(
        [sys.executable, script, "--out", out, "--code", "abc", "--fail"], capture_output=True, text=True
    )
    assert (found.returncode, found.stderr) == (1, "error: wrong.\n")
    assert list(out.iterdir()) == []


def test_a_script_that_is_no_job_of_a_rule_leaves_nothing_in_the_users_folder(script, out):
    tool = subprocess.Popen([sys.executable, script, "--out", out])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            tool.wait(timeout=3)
        assert list(out.iterdir()) == []
    finally:
        tool.kill()


def test_a_disk_that_refuses_the_heartbeat_stops_no_job(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with heartbeat(tmp_path / "file" / "job", "evaluate"):
        assert [*bar(range(3), disable=True)] == [0, 1, 2]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "in the way"


def test_the_count_is_right_by_iteration_by_update_and_after_a_resume():
    looped = bar(range(5), disable=True)
    assert (list(looped), looped.count) == ([0, 1, 2, 3, 4], 5)
    shown = bar(range(5), file=open(os.devnull, "w", encoding="utf-8"), mininterval=0)  # noqa: SIM115
    assert (len(list(shown)), shown.count) == (5, 5)
    resumed = bar(total=10, initial=4, disable=True)
    resumed.update()
    resumed.update(2)
    assert (resumed.count, resumed.first) == (7, 4)


def beat(**changed) -> Heartbeat:
    now = {"stage": "s", "host": socket.gethostname(), "pid": os.getpid(), "born": progress.born_at(os.getpid())}
    return Heartbeat(**now | {"started": time.time(), "updated": time.time()} | changed)


def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it():
    assert beat().alive
    assert not beat(born="12").alive


def test_on_another_host_the_last_sign_of_life_decides():
    assert beat(host="elsewhere", pid=1, updated=time.time() - 60).alive
    assert not beat(host="elsewhere", updated=time.time() - 600).alive


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": "s"}', json.dumps({"other": 1})])
def test_a_damaged_heartbeat_is_none(tmp_path, text):
    (tmp_path / progress.NAME).write_text(text, encoding="utf-8")
    assert read_heartbeat(tmp_path) is None
