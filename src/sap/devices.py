"""Which device a job uses, decided before torch is imported."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from sap.errors import SapError


def visible_devices() -> list[str]:
    """CUDA devices this process may use: CUDA_VISIBLE_DEVICES (so SLURM's choice holds), else what nvidia-smi lists."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    return _nvidia_smi("index")


def jobs_per_gpu() -> int:
    """Jobs that share one GPU: SAP_JOBS_PER_GPU, 1 where it is not set. SapError for anything but a number above 0."""
    text = os.environ.get("SAP_JOBS_PER_GPU", "1")
    if not text.isdecimal() or int(text) < 1:
        raise SapError(f"SAP_JOBS_PER_GPU must be a whole number of jobs above 0, was {text!r}. Set it to 1, 2 or so.")
    return int(text)


def claim_device() -> tuple[str, FileLock | None]:
    """Take a free slot of a device and make it the only one that torch will see.

    Returns ("cuda", lock) or ("cpu", None); the slot is free again when the lock is released or the
    process ends, however it ends, so keep it. A device has `jobs_per_gpu()` slots; emptier devices are taken first.
    SAP_DEVICE=cpu forces the CPU. Waits, with a message, while all slots are taken.
    """
    devices = [] if os.environ.get("SAP_DEVICE") == "cpu" else visible_devices()
    if not devices:
        return "cpu", None
    slots = jobs_per_gpu()
    folder = Path(tempfile.gettempdir()) / f"sap-slots-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    names = _names_on_this_machine()
    told = False
    while True:
        for slot in range(slots):
            for device in devices:
                lock = FileLock(folder / f"{names.get(device, device).replace('/', '_')}.{slot}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                os.environ["CUDA_VISIBLE_DEVICES"] = device
                print(f"device {device}, slot {slot + 1} of {slots}", flush=True)
                return "cuda", lock
        if not told:
            print(f"waiting for one of {len(devices)} device(s) × {slots} slot(s) ...", flush=True)
            told = True
        time.sleep(1)


def _names_on_this_machine() -> dict[str, str]:
    """Index -> UUID of what nvidia-smi lists. Under SLURM's device cgroups every job calls its own device 0."""
    return dict(line.split(", ") for line in _nvidia_smi("index,uuid"))


def _nvidia_smi(fields: str) -> list[str]:
    """One line per device; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(
        ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    return listed.stdout.splitlines() if listed.returncode == 0 else []
