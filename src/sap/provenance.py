"""meta.json: what an artifact was made from, by which code, on which machine, at what cost.

The meta.json of an upload is a seal: digests and what the server is told, nothing of the above. All else stays with the
client, in a record of its own.
"""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from sap.io import digest_file, sealed, write_json

PACKAGES = ("torch", "open_clip_torch", "peft", "safetensors", "numpy", "snakemake")


class Clock:
    """Started at the beginning of a job; `Clock().meta(...)` at its end is the content of meta.json."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def meta(
        self,
        stage: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str | Path],
        code: str,
        device: str = "cpu",
        **facts: Any,
    ) -> dict[str, Any]:
        """Provenance of one artifact.

        `settings` is what the stage read, `inputs` names each input file (stored as its SHA-256), `code` the
        stage's fingerprint, `facts` anything else worth keeping (seed, upload_bytes, class_counts ...).
        """
        return {
            "stage": stage,
            "settings": dict(settings),
            "inputs": {name: digest_file(path) for name, path in inputs.items()},
            "code": code,
            "versions": versions(),
            "git_commit": git_commit(),
            "device": device_name(device),
            "seconds": round(time.perf_counter() - self._start, 3),
            "peak_memory_bytes": peak_memory(device),
            **facts,
        }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def git_commit() -> str | None:
    """Commit of the working tree, with `-dirty` where files differ; None outside a repository."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    return described.stdout.strip() or None


def device_name(device: str) -> str:
    """Name of the processor that did the work."""
    if device == "cpu":
        return f"cpu ({platform.machine()}, {os.environ.get('OMP_NUM_THREADS', os.cpu_count())} threads)"
    return sys.modules["torch"].cuda.get_device_name()


def peak_memory(device: str) -> int:
    """Peak bytes: of the GPU's allocator on cuda, of this process's resident set on the CPU."""
    if device == "cpu":
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return sys.modules["torch"].cuda.max_memory_allocated()


def save_meta(folder: str | Path, meta: Mapping[str, Any], files: Iterable[str] | None = None) -> None:
    """Write meta.json with the digests of the artifact's files; call it last, it marks the artifact as complete.

    `files`: their names; None is everything in the folder, which then must be the artifact's own.
    """
    folder = Path(folder)
    if files is None:
        found = (entry.name for entry in folder.iterdir() if entry.is_file())
        files = [name for name in found if name != "meta.json" and not name.startswith(".")]
    digests = {name: digest_file(folder / name) for name in sorted(files)}
    write_json(folder / "meta.json", sealed({**meta, "files": digests}))


def save_upload(folder: str | Path, stage: str, facts: Mapping[str, Any], files: Iterable[str]) -> None:
    """Seal what a client hands over: meta.json with these facts and the files' digests, and nothing else."""
    save_meta(folder, {"stage": stage, **facts}, files)
