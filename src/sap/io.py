"""Files that are never half-written, and readers that say what is wrong with a file.

Beside the files of an artifact lies meta.json with their digests (sap.provenance writes it): whoever opens one of them
takes it through `verified`. A folder without a meta.json of ours, such as somebody's adapter, is read as it is.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from sap import foreign
from sap.errors import MachineError, damaged, not_written, shown, unreadable
from sap.escape import csv_cell

META_BYTES = 2**23  # an adapter's has 2 kB; that of a merge names every layer twice: 190 bytes for each of 40,000


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, no NaN. Equal settings give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str, length: int = 10) -> str:
    """First `length` hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def digest_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits; a file that nobody touched since is read once per process."""
    path, state = os.path.abspath(path), os.stat(path)
    return _digest_file(path, (state.st_ino, state.st_size, state.st_mtime_ns))


@cache
def _digest_file(path: str, _state: tuple[int, ...]) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with a digest over itself: 16 hex digits under "digest"."""
    own = {name: value for name, value in content.items() if name != "digest"}
    # as a reader will see it: JSON has no integer keys, and sorts their texts otherwise
    return own | {"digest": digest(canonical(json.loads(canonical(own))), 16)}


def is_intact(content: Any) -> bool:
    """True where the digest that `sealed` gave still is the content's."""
    with suppress(ValueError):  # NaN
        return isinstance(content, Mapping) and "digest" in content and content == sealed(content)
    return False


def seed_of(*names: str | int) -> int:
    """A 63-bit seed derived from names: the same names give the same seed on every machine."""
    return int(digest(canonical([str(name) for name in names]), 16), 16) >> 1


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write to a temporary name in the same folder; flush and rename on success, remove on failure.

    A disk or folder that takes no more becomes a SapError with the path and what to do; nothing half-written stays, and
    what a killed writer of the same file left behind is removed.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp-{socket.gethostname()}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(0o666 & ~_umask())  # safetensors makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # nothing is there where nothing can be written
            temporary.unlink(missing_ok=True)
        sentence = not_written(error, path)
        if sentence:
            raise MachineError(sentence) from error
        raise


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files (and folders made beside them) of writers of `path` that are dead.

    Only those of this host: whether a process of another one lives cannot be seen from here.
    """
    name = re.compile(re.escape(f".{path.name}.tmp-{socket.gethostname()}-") + r"(\d+)(\..*)?")
    for entry in os.scandir(path.parent):
        match = name.fullmatch(entry.name)
        if match and not _alive(int(match[1])):
            with suppress(OSError):  # another writer may be removing it, too
                shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's process
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or broken one is a SapError with the path and the next step."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read one JSON object per line."""
    try:
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error


def sealed_rows(path: str | Path) -> tuple[list[dict[str, Any]], int]:
    """(rows, damaged): the lines of a .jsonl file of `sealed` objects that are intact, and how many lines are not.

    A file that is not there has neither.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except FileNotFoundError:
        return [], 0
    rows = []
    for line in lines:
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if is_intact(row):
                rows.append(row)
    return rows, len(lines) - len(rows)


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]], columns: list[str]) -> None:
    """Write rows as CSV with a header, atomically; texts as `csv_cell` writes them: no spreadsheet runs them."""
    safe = ({name: csv_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in rows)
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(safe)


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Read a CSV file with a header into a list of dicts of texts."""
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except (OSError, ValueError, csv.Error) as error:
        raise unreadable(path, error) from error


def save_tensors(path: str | Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Save torch tensors or numpy arrays to a safetensors file, atomically; equal content gives equal bytes."""
    notes = {"notes": canonical(dict(metadata))} if metadata else None
    with atomic(path) as temporary:
        if any(type(tensor).__module__.startswith("torch") for tensor in tensors.values()):
            from safetensors import torch

            ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            torch.save_file(ready, str(temporary), metadata=notes)
        else:
            from safetensors import numpy

            numpy.save_file(dict(tensors), str(temporary), metadata=notes)


def notes_of(handle: Any) -> dict[str, str]:
    """The metadata that `save_tensors` was given, from an open safetensors file.

    They are one entry of the file's header: safetensors writes several in an order that changes from run to run.
    ValueError where they are not what `save_tensors` writes.
    """
    notes = json.loads((handle.metadata() or {}).get("notes", "{}"))
    if not isinstance(notes, dict):
        raise ValueError(f"its notes must be a JSON object, got {shown(notes)}")
    return notes


def open_tensors(path: str | Path, framework: str = "pt") -> Any:
    """An open safetensors file, which reads a tensor when asked: torch ("pt") or numpy ("np", no torch import).

    SapError where it is missing, broken, no regular file, or not the one that its meta.json knows.
    """
    from safetensors import SafetensorError, safe_open

    verified(foreign.tensor_file(path))
    try:
        return safe_open(str(path), framework=framework)
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error


def load_tensors(path: str | Path, framework: str = "pt") -> dict[str, Any]:
    """All tensors of a safetensors file, torch on the CPU ("pt") or numpy ("np"); SapError as `open_tensors`."""
    from safetensors import SafetensorError

    try:
        with open_tensors(path, framework) as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise unreadable(path, error) from error


def read_meta(folder: str | Path) -> dict[str, Any]:
    """The meta.json of an artifact; SapError where it is missing, broken or not as it was written.

    It may have come with an upload. In one of ours, `files` names files of the folder, and no others, with digests.
    """
    path = Path(folder) / "meta.json"
    meta = foreign.read_json(path, META_BYTES)
    if not isinstance(meta, dict):
        raise damaged(path, f"a JSON object was expected, got {shown(meta)}")
    if _is_ours(meta):
        if not is_intact(meta):
            raise damaged(path, "its digest is not the one that it was written with")
        files = meta.get("files")
        if not isinstance(files, dict) or not all(map(_is_digest_of_file, files, files.values())):
            raise damaged(path, f"its `files` must give names in this folder their SHA-256, got {shown(files)}")
    return meta


def digests_of(folder: str | Path) -> dict[str, str]:
    """Name -> SHA-256 of an artifact's files, from its meta.json; none where that is not one of ours."""
    meta = read_meta(folder)
    return meta["files"] if _is_ours(meta) else {}


def _is_digest_of_file(name: str, value: Any) -> bool:
    inside = "/" not in name and name not in ("", ".", "..")
    return inside and isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def _is_ours(meta: dict[str, Any]) -> bool:
    """Two of these names are enough, because a damage can hit one; other people's meta.json have none."""
    return len(meta.keys() & {"stage", "files", "digest"}) > 1


def verified(path: str | Path) -> Path:
    """The path of an artifact's file, once its digest was found to be the one in the meta.json beside it.

    A file that no meta.json names is taken as it is. Raises SapError for a damaged file or meta.json.
    """
    path = Path(path)
    if path.with_name("meta.json").exists() and path.exists():
        files = digests_of(path.parent)
        if path.name in files and digest_file(foreign.regular_file(path)) != files[path.name]:
            raise damaged(path, "its digest is not the one in meta.json")
    return path
