"""Stopping and going on: the state of a training, kept in a side folder until the adapter is saved."""

import hashlib
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sap.io import notes_of, save_tensors


class ResumeFile:
    """One safetensors file: tensors, and in its metadata the counters and the identity of the training.

    One file, so that it is whole or absent. A state of another identity (settings, inputs, code) is never used.
    """

    def __init__(self, folder: str | Path, identity: str) -> None:
        self.folder, self.identity = Path(folder), identity
        self.path = self.folder / "state.safetensors"

    def save(self, tensors: dict[str, torch.Tensor], counters: dict[str, Any]) -> None:
        """Replace the state; `counters` must be JSON values (floats survive exactly)."""
        notes = {"identity": self.identity, "counters": json.dumps(counters)}
        save_tensors(self.path, tensors, notes | {"digest": _digest(tensors, notes["counters"])})

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """(tensors, counters), or None where there is no intact state of this training: then it starts afresh."""
        try:
            with safe_open(self.path, "pt") as state:
                notes = notes_of(state)
                if notes["identity"] != self.identity:
                    return None
                tensors = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
                intact = notes["digest"] == _digest(tensors, notes["counters"])
                return (tensors, json.loads(notes["counters"])) if intact else None
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def remove(self) -> None:
        """Delete the side folder; call it when the adapter is safe."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _digest(tensors: dict[str, torch.Tensor], counters: str) -> str:
    """SHA-256 over everything that a training goes on with."""
    found = hashlib.sha256(counters.encode())
    for name in sorted(tensors):
        found.update(f"{name} {tuple(tensors[name].shape)}".encode())
        found.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@contextmanager
def catch_sigterm() -> Iterator[SimpleNamespace]:
    """Within the block SIGTERM only sets `.requested`, so that a training can stop between two steps."""
    stop = SimpleNamespace(requested=False)

    def note(_signal: int, _frame: object) -> None:
        stop.requested = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
