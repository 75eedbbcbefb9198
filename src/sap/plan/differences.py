"""What distinguishes an id from the others that are known: its settings beside those of the nearest one."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sap.io import canonical, read_csv
from sap.plan.stage import RESULTS


def read_index() -> dict[tuple[str, str], Any]:
    """results/index.csv: (stage, id) -> settings; empty where nothing ran yet."""
    path = Path(RESULTS) / "index.csv"
    return {(row["stage"], row["id"]): json.loads(row["settings"]) for row in (read_csv(path) if path.exists() else [])}


def nearest(
    index: Mapping[tuple[str, str], Any], stage: str, name: str, allowed: Callable[[str], bool]
) -> tuple[str, list[str]] | None:
    """The id of this stage whose settings differ least from those of `name`, and the differences; None without one.

    A trainee (`train_id/name`) is compared with trainees of its name. `allowed` says which ids may be named.
    """
    last = name.partition("/")[2]
    found = [
        (differences(settings, index[stage, name]), other)
        for (where, other), settings in index.items()
        if where == stage and other != name and other.partition("/")[2] == last and allowed(other)
    ]
    if not found:
        return None
    listed, other = min(found, key=lambda pair: (len(pair[0]), pair[1]))
    return other, listed


def differences(old: Any, new: Any) -> list[str]:
    """`train.learning_rate 0.003 -> 0.005` for every setting that differs, by its dotted path."""
    before, after = dict(_flat(old)), dict(_flat(new))
    return [
        f"{path} {_text(before.get(path))} -> {_text(after.get(path))}"
        for path in dict.fromkeys((*before, *after))
        if before.get(path) != after.get(path)
    ]


def shortened(listed: list[str], most: int = 4) -> str:
    """The first few of a list in one line."""
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not path):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else key)
    else:
        yield path, value


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
