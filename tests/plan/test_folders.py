"""Two working folders that share their results do not work at once; one folder, or one after the other, may."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sap.errors import SapError
from sap.plan import folders
from sap.plan.folders import claim_results

HOLD = "from sap.plan.folders import claim_results; claim_results(); print('held', flush=True); input()"


@pytest.fixture
def clones(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Two working folders that share results/ by a link; the test runs in the first."""
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "results").mkdir(parents=True)
    two.mkdir()
    (two / "results").symlink_to(one / "results")
    monkeypatch.chdir(one)
    return one, two


@pytest.fixture
def holding():
    """Starts a process that holds the results from a folder."""
    started = []

    def start(folder: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_run_of_another_folder_is_named_and_when_it_was_killed_nothing_is_left_of_it(clones, holding):
    other = holding(clones[1])
    sentence = (
        rf"another run is making results/: of {clones[1]} on .*, process {other.pid}\. .* Wait until it has ended"
    )
    with pytest.raises(SapError, match=sentence):
        claim_results()
    other.kill()
    other.wait()
    os.close(claim_results())


def test_runs_of_one_folder_share_it_and_keep_the_others_out_until_the_last_has_ended(clones, holding, monkeypatch):
    first, second = holding(clones[0]), holding(clones[0])
    monkeypatch.chdir(clones[1])
    for process in (first, second):
        with pytest.raises(SapError, match=f"of {clones[0]} on"):
            claim_results()
        process.kill()
        process.wait()
    os.close(claim_results())


def test_jobs_that_outlive_their_run_hold_nothing(clones, monkeypatch):
    descriptor = claim_results()
    job = subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        close_fds=False,
    )
    assert job.stdout.readline() == "up\n"
    os.close(descriptor)
    monkeypatch.chdir(clones[1])
    os.close(claim_results())
    job.communicate("\n")


def test_a_file_system_without_locks_is_said_and_stops_nobody(clones, monkeypatch, capsys):
    def flock(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(folders, "fcntl", SimpleNamespace(flock=flock, LOCK_SH=1, LOCK_EX=2, LOCK_NB=4))
    assert claim_results() is None
    assert "cannot be locked" in capsys.readouterr().err
