"""The small study on a real one-node SLURM, through profiles/slurm as it is: one job is killed, one requeued."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.workflow.compare import differences
from tests.workflow.slurm_cluster import command, missing, one_node, stop
from tests.workflow.small_study import MINI, Workflow

ABSENT = missing()
REQUIRED = bool(os.environ.get("SAP_REQUIRE_SLURM"))  # where it is set, the test runs or fails

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ci,
    pytest.mark.slurm,
    pytest.mark.skipif(ABSENT is not None and not REQUIRED, reason=str(ABSENT)),
]

PROFILE = ("--workflow-profile", "profiles/slurm", "--cores", "all")
# A test waits for every poll: look after a second, not after the plugin's 40. One disk: no latency to wait for.
IMPATIENT = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5")
PATIENCE = 1200  # seconds for one job to begin, and for the rest of the run


@pytest.fixture
def cluster(monkeypatch) -> Iterator[dict[str, str]]:
    """A cluster that commands of this process reach; gives its environment variables."""
    assert ABSENT is None
    with one_node() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield environment


def script_of(stage: str, workflow: Workflow, run: subprocess.Popen) -> psutil.Process:
    """The first living script of a stage in the workflow's folder, awaited."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and run.poll() is None:
        for process in psutil.process_iter():
            try:
                if process.cmdline()[1:2] == [f"workflow/scripts/{stage}.py"] and process.cwd() == str(workflow.folder):
                    return process
            except psutil.Error:
                continue
        time.sleep(0.1)
    raise AssertionError(f"no {stage} job began")


def slurm_job_of(process: psutil.Process) -> str:
    """SLURM's number of the job that a process belongs to."""
    return process.environ()["SLURM_JOB_ID"]


def test_a_study_on_slurm_with_a_killed_and_a_requeued_job_equals_the_local_run(finished, cluster, tmp_path):
    workflow, log = Workflow(tmp_path / "slurm", MINI), tmp_path / "log"
    with log.open("w") as output, workflow.started(output, *PROFILE, *IMPATIENT) as run:
        try:
            victim = script_of("train_client", workflow, run)
            killed = slurm_job_of(victim)
            victim.kill()
            preempted = slurm_job_of(script_of("evaluate", workflow, run))
            subprocess.run(["scontrol", "requeue", preempted], check=True)
            status = run.wait(PATIENCE)
        finally:
            stop(run, signal.SIGINT, seconds=60)  # an interrupted snakemake cancels its jobs
    said = log.read_text(encoding="utf-8")
    assert status == 0, said[-5000:]
    assert f"SLURM-job '{killed}' failed" in said
    assert "Trying to restart job" in said
    assert f"SLURM-job '{preempted}' failed" not in said
    seen = command("scontrol", "show", "job", preempted, environment=cluster)
    assert "Restarts=1" in seen
    assert "gres:gpu:1" in seen
    assert differences(finished, workflow) == []
    assert "Nothing to be done" in workflow.run("--dry-run", *PROFILE).stdout
