"""Rows that cannot be computed: each is written down with its sentence beside the others, and stops none of them.

A job that fails at some of its rows leaves them in FAILED, one sealed line each, and succeeds. Tables mark them. The
rule `complete` ends the run with their sentences and hands the files back, so that the next run tries them again.
"""

import os
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sap.errors import MachineError, SapError, out_of_memory
from sap.io import canonical, sealed, write_jsonl

FAILED = "failed.jsonl"


def sentence_of(error: Exception) -> str:
    """What to say of a row that met this error.

    Raises the error where no row is to blame: the machine lacks memory or disk space, so the job has to end.
    """
    if isinstance(error, (MachineError, OSError)) or out_of_memory(error):
        raise error
    if isinstance(error, SapError):
        return str(error)
    traceback.print_exception(error)  # for the log: nobody foresaw this one
    return f"{type(error).__name__.lstrip('_')}: {error} (not foreseen; the job's log has the traceback)"


def writable(row: dict[str, Any]) -> dict[str, Any]:
    """The row as it is; SapError where a number of it is NaN or infinite, which no line of JSON can hold."""
    try:
        canonical(row)
    except ValueError:
        raise SapError(
            "one of its numbers is NaN or infinite: some update is too large to be used. "
            "Compare the adapters' norms, leave that client out, or lower the point's scale."
        ) from None
    return row


def write_failures(folder: str | Path, failed: Iterable[Mapping[str, Any]]) -> None:
    """Write FAILED into a job's folder, sorted, atomically; empty where no row failed."""
    write_jsonl(Path(folder) / FAILED, [sealed(row) for row in sorted(failed, key=canonical)])


def hand_back(folder: str | Path) -> None:
    """Lay the failed rows of a job's folder aside: its output is missing then, so the next run does the job again.

    They go where rows of a killed job lie, from where the job removes them when it is done.
    """
    path = Path(folder) / FAILED
    if path.exists():
        handed_back(path).parent.mkdir(exist_ok=True)
        os.replace(path, handed_back(path))


def handed_back(path: str | Path) -> Path:
    """Where `hand_back` lays a FAILED file."""
    path = Path(path)
    return Path(f"{path.parent}.progress") / path.name
