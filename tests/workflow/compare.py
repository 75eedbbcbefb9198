"""What two runs of one study have in common: everything but wall-clock times, memory and the state of the checkout."""

import csv
import json
from pathlib import Path
from typing import Any

from tests.workflow.small_study import Workflow

MEASURED = ("seconds", "images_per_second", "peak_memory_bytes", "memory", "digest", "git_commit")
BYTES = (".safetensors", ".npy", "adapter_config.json", "open_clip_config.json")
# times; what dry runs leave (other tests' too, in the study that they share); drawings of the tables
SKIPPED = ("benchmarks", "plans", "experiments", "index.csv", "figures")


def content(workflow: Workflow) -> dict[str, Any]:
    """Relative path -> what counts of each result file."""
    root = workflow.folder / "results"
    files = (path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] not in SKIPPED)
    return {str(path.relative_to(root)): _counts(path) for path in files if path.suffix not in (".md", ".tex", ".html")}


def differences(left: Workflow, right: Workflow) -> list[str]:
    """Paths of the results that only one of two runs has, or that are not the same."""
    a, b = content(left), content(right)
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def _counts(path: Path) -> Any:
    try:
        if path.name.endswith(BYTES):
            return path.read_bytes()
        if path.suffix == ".csv":
            return [_without_times(row) for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
        if path.suffix == ".jsonl":
            return [_without_times(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.name == "meta.json":
            meta = _without_times(json.loads(path.read_text(encoding="utf-8")))
            return meta | {"files": {name: value for name, value in meta["files"].items() if name != "train.jsonl"}}
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # damaged: as it is
    return path.read_bytes()


def _without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not any(word in str(name) for word in MEASURED)}
