"""A job takes a slot of a visible device before torch is imported, and frees it with its end."""

import subprocess
import sys
import tempfile
import time
from collections import Counter

import pytest

from sap import devices
from sap.errors import SapError

JOB = """
import os, sys, time, pathlib
from sap.devices import claim_device
log = pathlib.Path(sys.argv[1])
log.with_suffix(".ready").touch()
while not log.with_name("go").exists():
    time.sleep(0.01)
held = claim_device()
device = os.environ["CUDA_VISIBLE_DEVICES"]
log.write_text(f"{device} {time.monotonic()} ")
time.sleep(0.4)
log.open("a").write(f"{time.monotonic()}")
"""


@pytest.fixture(autouse=True)
def private_slots(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(devices, "_nvidia_smi", lambda fields: [])
    monkeypatch.delenv("SAP_DEVICE", raising=False)
    monkeypatch.delenv("SAP_JOBS_PER_GPU", raising=False)


def claim(monkeypatch, visible: str) -> tuple[str, object]:
    """(device, lock) of one more job on a machine with these devices."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    _, lock = devices.claim_device()
    return devices.os.environ["CUDA_VISIBLE_DEVICES"], lock


def test_without_devices_the_cpu_is_used_and_nothing_is_locked(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.claim_device() == ("cpu", None)


def test_the_cpu_can_be_forced(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    assert devices.claim_device() == ("cpu", None)


def test_slots_fill_all_devices_before_sharing_one_and_are_freed(monkeypatch):
    monkeypatch.setenv("SAP_JOBS_PER_GPU", "2")
    claims = [claim(monkeypatch, "3,GPU-b") for _ in range(4)]  # what SLURM would have set
    assert [device for device, _ in claims] == ["3", "GPU-b", "3", "GPU-b"]
    claims[1][1].release()
    device, again = claim(monkeypatch, "3,GPU-b")
    assert device == "GPU-b"
    for lock in (*(lock for _, lock in claims), again):
        lock.release()


def test_a_full_machine_makes_the_job_wait_and_say_so(monkeypatch, capsys):
    _, lock = claim(monkeypatch, "0")
    monkeypatch.setattr(devices.time, "sleep", lambda _: lock.release())
    _, second = claim(monkeypatch, "0")
    printed = capsys.readouterr().out
    assert printed.count("waiting for one of 1 device(s) × 1 slot(s)") == 1
    assert printed.count("device 0, slot 1 of 1") == 2
    second.release()


def test_devices_that_two_slurm_jobs_both_call_0_are_not_taken_for_one(monkeypatch):
    monkeypatch.setattr(devices, "_nvidia_smi", lambda fields: ["0, GPU-aaaa"])
    _, first = claim(monkeypatch, "0")
    monkeypatch.setattr(devices, "_nvidia_smi", lambda fields: ["0, GPU-bbbb"])
    device, second = claim(monkeypatch, "0")  # would wait for ever if both had one name
    assert device == "0"
    first.release()
    second.release()


@pytest.mark.parametrize("value", ["0", "-1", "two", ""])
def test_a_wrong_number_of_jobs_per_gpu_is_refused(monkeypatch, value):
    monkeypatch.setenv("SAP_JOBS_PER_GPU", value)
    with pytest.raises(SapError, match="SAP_JOBS_PER_GPU must be a whole number"):
        claim(monkeypatch, "0")


def start(log, code: str = JOB) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, str(log)], stdout=subprocess.DEVNULL)


def wait_for(folder, pattern: str, count: int) -> None:
    while len(list(folder.glob(pattern))) < count:
        time.sleep(0.02)


def test_eight_jobs_on_two_devices_with_two_slots_each_never_exceed_two_per_device_and_use_both(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("SAP_JOBS_PER_GPU", "2")
    jobs = [start(tmp_path / f"job-{number}") for number in range(8)]
    wait_for(tmp_path, "job-*.ready", 8)
    (tmp_path / "go").touch()
    assert [job.wait(timeout=60) for job in jobs] == [0] * 8
    held = [path.read_text(encoding="utf-8").split() for path in tmp_path.glob("job-?")]
    assert len(held) == 8
    assert {device for device, *_ in held} == {"0", "1"}
    busiest = Counter()
    for device, begin, _ in held:  # how many hold a device can only grow when one more begins
        at = float(begin)
        together = sum(other == device and float(b) <= at < float(e) for other, b, e in held)
        busiest[device] = max(busiest[device], together)
    assert max(busiest.values()) == 2


def test_a_killed_job_frees_its_slot(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (tmp_path / "go").touch()
    job = start(tmp_path / "job", JOB.replace("time.sleep(0.4)", "time.sleep(600)"))
    wait_for(tmp_path, "job", 1)
    job.kill()
    job.wait()
    device, lock = claim(monkeypatch, "0")  # waits for ever if the slot were still taken
    assert device == "0"
    lock.release()
