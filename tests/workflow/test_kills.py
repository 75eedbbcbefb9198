"""Kill -9, at random moments, of jobs and of whole runs: what is there in the end is what an undisturbed run gives."""

import csv
import random
import signal
import subprocess
import time
from collections import Counter

import psutil
import pytest

from tests.workflow.compare import differences
from tests.workflow.small_study import MINI, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.ci]

LEAST = 20  # kills of living jobs
RUNS_KILLED = (4, 12)  # after so many kills, the whole process group goes instead of one job
OFTEN = {"train_client": 3, "evaluate": 5, "audit": 4}  # kills per job, else two
MOST_RUNS = 60


def typical_seconds(finished: Workflow) -> dict[str, float]:
    """Stage -> how long its longest job took in the undisturbed run."""
    found: dict[str, float] = {}
    for path in finished.glob("results/benchmarks/**/*.tsv"):
        stage = path.relative_to(finished.folder).parts[2]
        (row,) = csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t")
        found[stage] = max(found.get(stage, 0.0), float(row["s"]))
    return found


def running_jobs(snakemake: psutil.Process) -> dict[psutil.Process, tuple[str, str]]:
    """Living job scripts below a snakemake process -> (stage, its --out folder)."""
    found = {}
    for process in snakemake.children(recursive=True):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if len(command) > 1 and command[1].startswith("workflow/scripts/"):
            stage = command[1].removeprefix("workflow/scripts/").removesuffix(".py")
            found[process] = (stage, command[command.index("--out") + 1])
    return found


class Killer:
    """Gives each job that it sees a moment, drawn from how long such jobs take, and kills what still lives then.

    How long they take is first what the undisturbed run says, then what the last job that got away took: the machine
    is not always as busy, and a job that goes on where another was killed is shorter.
    """

    def __init__(self, seconds: dict[str, float], seed: int) -> None:
        self.seconds, self.random = seconds, random.Random(seed)
        self.kills: Counter[tuple[str, str]] = Counter()
        self.runs_killed = 0
        self.rounds = 1  # each allows a job's kills once more
        self._due: dict[psutil.Process, float] = {}
        self._seen: dict[psutil.Process, tuple[str, float]] = {}

    def watch(self, run: subprocess.Popen) -> None:
        """Harass one snakemake run until it ends, by itself or by us."""
        snakemake = psutil.Process(run.pid)
        self._due, self._seen = {}, {}
        while run.poll() is None:
            try:
                jobs = running_jobs(snakemake)
            except psutil.NoSuchProcess:
                break
            for process in self._seen.keys() - jobs.keys():
                stage, since = self._seen.pop(process)
                if self._due.pop(process, None):
                    self.seconds[stage] = time.monotonic() - since
            for process, job in jobs.items():
                if process not in self._seen:
                    self._seen[process] = (job[0], time.monotonic())
                    if self.kills[job] < self.rounds * OFTEN.get(job[0], 2):
                        self._due[process] = time.monotonic() + self.random.uniform(0, self.seconds[job[0]])
                if self._due.get(process, float("inf")) <= time.monotonic() and self.kill(process, job, run):
                    return
            time.sleep(0.05)

    def kill(self, process: psutil.Process, job: tuple[str, str], run: subprocess.Popen) -> bool:
        """Kill one job, or now and then the whole run (True)."""
        del self._due[process]
        whole = self.runs_killed < len(RUNS_KILLED) and self.kills.total() >= RUNS_KILLED[self.runs_killed]
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if whole:
                victims = [run, *psutil.Process(run.pid).children(recursive=True)]
                for victim in victims:
                    victim.send_signal(signal.SIGKILL)
            else:
                process.kill()
        except psutil.NoSuchProcess:
            return whole
        self.kills[job] += 1
        self.runs_killed += whole
        return whole


def test_random_kills_change_no_row_no_prediction_and_no_adapter(finished, tmp_path):
    workflow, killer = Workflow(tmp_path / "killed", MINI), Killer(typical_seconds(finished), seed=0)
    log, options = tmp_path / "log", []
    for _ in range(MOST_RUNS):
        killed_before = killer.runs_killed
        with open(log, "a", encoding="utf-8") as output, workflow.started(output, *options) as run:
            killer.watch(run)
            status = run.wait()
        if killer.runs_killed > killed_before:
            assert "removed with the --unlock argument" in workflow.run(check=False).stdout
            workflow.run("--unlock")
        elif status == 0 and killer.kills.total() >= LEAST:
            break
        # Where too many jobs got away, the clients train again, and all that follows runs with them.
        options = ["--forcerun", "train_client"] if status == 0 else []
        killer.rounds += status == 0
    assert status == 0, log.read_text(encoding="utf-8")[-5000:]
    print(f"{killer.kills.total()} kills, {killer.runs_killed} of them of whole runs: {dict(killer.kills)}")
    assert killer.kills.total() >= LEAST
    assert killer.runs_killed == len(RUNS_KILLED)
    assert differences(finished, workflow) == []
    assert not list(workflow.folder.rglob(".*.tmp-*"))
    assert not workflow.glob("results/**/*.progress") + workflow.glob("results/**/*.resume")
    assert "Nothing to be done" in workflow.run("--dry-run").stdout
