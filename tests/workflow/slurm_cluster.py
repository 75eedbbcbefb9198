"""A one-node SLURM on this machine, started by hand: no cgroups, no accounting, nothing of it outside one folder."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

DAEMONS = ("munged", "slurmctld", "slurmd")
PRETENDED_GPUS = ("/dev/null", "/dev/zero")  # device files that every machine has; nothing opens them

# config_overrides: slurmd believes the node line, so that a small machine starts jobs which ask for more memory.
# cred_expire: a requeued job waits for that many seconds. MinJobAge: seconds for which squeue knows a finished job.
CONFIG = """
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MailProg=/bin/true
ReturnToService=2
MinJobAge=36000
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1
KillWait=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=100000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """What this machine lacks for a cluster of its own, in words; None where it lacks nothing."""
    absent = [name for name in DAEMONS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)"
    return None if os.getuid() == 0 else "SLURM's daemons need root to start jobs"


@contextmanager
def one_node() -> Iterator[dict[str, str]]:
    """Run the cluster; gives the environment variables that its commands need. Two cores, pretended GPUs.

    Its folder is short-named, because a socket's path may have 107 characters; it is removed at the end.
    Snakemake's job steps call `srun` without SLURM_CONF, so an `srun` that sets it again comes first in PATH.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp")))
        folder.chmod(0o755)  # munge refuses a folder that others could write to
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(mode=0o755)
        (folder / "slurm.conf").write_text(configuration(folder), encoding="utf-8")
        (folder / "gres.conf").write_text(
            "".join(f"Name=gpu File={device}\n" for device in PRETENDED_GPUS), encoding="utf-8"
        )
        srun = folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(
            f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n', encoding="utf-8"
        )
        srun.chmod(0o755)
        environment = {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{srun.parent}:{os.environ['PATH']}"}
        stack.callback(end_strays, environment["SLURM_CONF"])

        def start(*words: str) -> None:
            log = stack.enter_context((folder / f"{words[0]}.out.log").open("w"))
            stack.callback(stop, subprocess.Popen(words, env=os.environ | environment, stdout=log, stderr=log))

        munge = folder / "munge"
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        start("munged", "--foreground", *(f"--{option}={munge / name}" for option, name in options.items()))
        wait_until(lambda: (munge / "socket").exists(), "munged's socket", folder)
        start("slurmctld", "-D", "-c")
        start("slurmd", "-D", "-c")
        wait_until(
            lambda: command("sinfo", "-h", "-o", "%T", environment=environment) == "idle", "an idle node", folder
        )
        stack.callback(end_jobs, environment, folder)
        yield environment


def end_jobs(environment: dict[str, str], folder: Path) -> None:
    """Cancel what still runs: a job outlives its daemons."""
    command("scancel", "--user=root", environment=environment)
    wait_until(lambda: command("squeue", "-h", environment=environment) == "", "end of the jobs", folder)


def end_strays(slurm_conf: str) -> None:
    """Kill what outlived its job: without cgroups, SLURM loses a process whose parent ends first."""
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("SLURM_CONF") == slurm_conf:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def configuration(folder: Path) -> str:
    """The text of slurm.conf, on two ports that nobody uses."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = {"controller": one.getsockname()[1], "node": other.getsockname()[1]}
    return CONFIG.format(host=socket.gethostname().split(".")[0], folder=folder, gpus=len(PRETENDED_GPUS), **ports)


def command(*words: str, environment: dict[str, str]) -> str:
    """Output of a SLURM command, or "" where it failed."""
    found = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else ""


def wait_until(ready: Callable[[], bool], what: str, folder: Path, seconds: float = 60) -> None:
    """Look ten times a second; show the daemons' own words if it never comes."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            logs = "\n".join(
                f"--- {path}\n{path.read_text(encoding='utf-8')[-3000:]}" for path in sorted(folder.rglob("*.log"))
            )
            raise TimeoutError(f"no {what} after {seconds:.0f} s\n{logs}")
        time.sleep(0.1)


def stop(process: subprocess.Popen, how: signal.Signals = signal.SIGTERM, seconds: float = 10) -> None:
    """Ask a process to end, and make it where it does not in time."""
    process.send_signal(how)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
