"""Which files under results/ no recorded experiment uses, and removing them. Nothing outside, nothing behind a link."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sap.plan.differences import nearest, shortened
from sap.plan.stage import RESULTS, Stage
from sap.progress import read_heartbeat

_SIDES = (".resume", ".progress")  # folders beside a job's, for what it has saved so far


@dataclass(frozen=True)
class Unused:
    """Folders or files of one stage and id that nobody uses, their bytes, and whether a job is at work in them."""

    stage: str
    name: str
    paths: tuple[Path, ...]
    bytes: int
    busy: bool


def find_unused(used: Iterable[str], stages: Mapping[str, Stage]) -> list[Unused]:
    """Everything that is no path of `used` (folders, files, or folders of folders) and lies in none of them.

    Only what the workflow makes is looked at: job folders with their side folders, benchmarks, and plans.
    """
    used = set(used)
    groups: dict[tuple[str, str], list[Path]] = {}
    for path, stage, name in _made(stages):
        base = str(path)
        for side in _SIDES:
            base = base.removesuffix(side)
        if not used & {base, *map(str, Path(base).parents)}:
            groups.setdefault((stage, name), []).append(path)
    return [
        Unused(stage, name, tuple(paths), sum(map(_size, paths)), any(map(_is_busy, paths)))
        for (stage, name), paths in sorted(groups.items())
    ]


def describe(
    entry: Unused, index: Mapping[tuple[str, str], Any], used: Iterable[str], stages: Mapping[str, Stage]
) -> str:
    """What an unused id stood for: where its settings differ from the nearest id that is used."""
    stage, depth = entry.stage, stages[entry.stage].named if entry.stage in stages else 0
    name = "/".join(entry.paths[0].parts[2 : 2 + depth])
    if (stage, name) not in index:
        return ""
    kept = {"/".join(Path(path).parts[2 : 2 + depth]) for path in used if Path(path).parts[1:2] == (entry.stage,)}
    close = nearest(index, stage, name, lambda other: other in kept)
    if close is None:
        return shortened([f"{key} {value}" for key, value in index[stage, name].items()], 2)
    # Read from the used id to this one.
    return shortened(close[1]) if close[1] else "settings as used, on top of something else"


def remove(entry: Unused) -> None:
    """Delete the entry's folders and files, and the folders above that are then empty; not where a job is at work."""
    for path in entry.paths:
        if _is_busy(path):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        for parent in path.parents:
            if len(parent.parts) < 3:
                break
            with suppress(OSError):  # not empty
                parent.rmdir()


def _made(stages: Mapping[str, Stage]) -> Iterator[tuple[Path, str, str]]:
    """(path, stage's folder, id) of every job folder, benchmark and plan; links are passed by."""
    root = Path(RESULTS)
    for stage in stages.values():
        for path in _folders(Path(stage.root), stage.depth) if not stage.beside else ():
            yield path, stage.name, path.parts[2]
    for folder, folders, files in os.walk(root / "benchmarks"):
        folders.sort()
        for file in sorted(files):
            path = Path(folder, file)
            if not path.is_symlink():
                yield path, "benchmarks", path.parts[2]
    for path in sorted((root / "plans").glob("*.json")):
        # The parts of a code fingerprint are small, and `why` compares with those of the past.
        if not path.is_symlink() and not path.name.startswith("code-"):
            yield path, "plans", "-".join(path.stem.split("-")[:-1])


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return
    if depth == 0:
        yield folder
        return
    for entry in sorted(folder.iterdir()):
        yield from _folders(entry, depth - 1)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(Path(folder, file).lstat().st_size for folder, _, files in os.walk(path) for file in files)


def _is_busy(path: Path) -> bool:
    places = {path, *(Path(str(path).removesuffix(side)) for side in _SIDES)}
    beats = [read_heartbeat(place) for place in places]
    return any(beat is not None and beat.alive for beat in beats)
