"""A job's heartbeat: `<out>/.progress.json` while the job runs, so that others can see that it lives and how far it is.

The file is a courtesy: no number depends on it, and a disk that refuses it stops nobody. A thread writes it, so that a
slow disk does not slow the work either. After `kill -9` it stays; then its process is gone, or its time old.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NAME = ".progress.json"
EVERY = 2.0  # seconds between two writes at least, while the counts move
BEAT = 30.0  # seconds between two writes at most
SILENCE = 180.0  # seconds without a write after which a job of another host counts as dead


@dataclass(frozen=True)
class Heartbeat:
    """Content of the file. Times are seconds since the epoch; counts are None before the first `bar`."""

    stage: str
    host: str
    pid: int
    born: str | None  # when the process started, as the kernel counts; None where there is no /proc
    started: float
    updated: float
    done: int | None = None
    total: int | None = None
    unit: str | None = None
    rate: float | None = None  # units per second since the bar began

    @property
    def alive(self) -> bool:
        """Whether the job still runs: its very process on this host, a recent sign of life on another."""
        if self.host != socket.gethostname():
            return time.time() - self.updated < SILENCE
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody else's process: it exists
        return self.born == born_at(self.pid)

    @property
    def seconds_left(self) -> float | None:
        """Time until the bar is full at its rate so far; None where nothing is known."""
        if not self.rate or self.total is None or self.done is None:
            return None
        return max(0.0, self.total - self.done) / self.rate


def read_heartbeat(folder: str | Path) -> Heartbeat | None:
    """The heartbeat in a job's folder, alive or left behind; None where there is none that can be read."""
    try:
        return Heartbeat(**json.loads((Path(folder) / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def heartbeat(folder: str | Path, stage: str) -> Iterator[None]:
    """Keep `<folder>/.progress.json` while the block runs; it is removed at the end, also after an error.

    The folder is not made for it: Snakemake makes it before a job, and a mistake in a call by hand leaves nothing.
    """
    global _current
    writer = _current = _Writer(Path(folder), stage)
    writer.start()
    try:
        yield
    finally:
        _current = None
        writer.stop()


def bar(iterable: Iterable[Any] | None = None, **options: Any) -> Any:
    """tqdm (same arguments) whose counts go into the running job's heartbeat, too, also where nothing is displayed."""
    from tqdm import tqdm

    class Bar(tqdm):
        """Counts by itself: tqdm's own count moves in jumps, and not at all where the display is disabled."""

        def __iter__(self) -> Iterator[Any]:
            for item in super().__iter__():
                yield item
                self.count += 1

        def update(self, n: int = 1) -> bool | None:
            if self.iterable is None:
                self.count += n
            return super().update(n)

    made = Bar(iterable, **options)
    made.count = made.first = options.get("initial", 0)
    made.since = time.monotonic()
    made.unit = options.get("unit", "it")
    if _current is not None:
        _current.bar = made
    return made


class _Writer(threading.Thread):
    """Writes the heartbeat of one job until it is stopped."""

    def __init__(self, folder: Path, stage: str) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.path = folder / NAME
        self.bar: Any = None  # what `bar` made
        pid = os.getpid()
        self.constant: dict[str, Any] = {"stage": stage, "host": socket.gethostname(), "pid": pid, "born": born_at(pid)}
        self.started = time.time()
        self.ended = threading.Event()

    def run(self) -> None:
        told, count = -BEAT, None
        while True:
            found = self.bar and self.bar.count
            if found != count or time.monotonic() - told >= BEAT:
                self.write()
                told, count = time.monotonic(), found
            if self.ended.wait(EVERY):
                return

    def write(self) -> None:
        counts: dict[str, Any] = {}
        if (shown := self.bar) is not None:
            seconds = time.monotonic() - shown.since
            rate = (shown.count - shown.first) / seconds if seconds > 0 else None
            counts = {"done": shown.count, "total": shown.total, "unit": shown.unit, "rate": rate}
        now = Heartbeat(**self.constant, started=self.started, updated=time.time(), **counts)
        with suppress(OSError):
            self.temporary.write_text(json.dumps(asdict(now)) + "\n", encoding="utf-8")
            os.replace(self.temporary, self.path)

    def stop(self) -> None:
        self.ended.set()
        self.join()
        for path in (self.temporary, self.path):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    @property
    def temporary(self) -> Path:
        return self.path.with_name(f"{NAME}.tmp")


_current: _Writer | None = None


def born_at(pid: int) -> str | None:
    """When a process started, in the kernel's ticks since boot: pids are used again, and clocks jump.

    None where there is no /proc, and for a killed process that its parent has not yet taken notice of.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        return None
