"""The plan as files: what a job computes, what the report shows, and what every id stands for.

Their names carry a hash of their content, so a job's command changes exactly when its work does.
"""

import json
from pathlib import Path
from typing import Any

from sap.errors import SapError
from sap.io import canonical, digest, read_csv, write_csv, write_text
from sap.plan.code import store_code
from sap.plan.folds import point_modules
from sap.plan.stage import RESULTS
from sap.plan.study import Study
from sap.plans import as_json

STORED: set[str] = set()  # every path that `store_plan` has returned in this process


def store_plan(plan: Any, slug: str) -> str:
    """Write a plan (sap.plans) under a name that carries its hash, unless it is there; returns the path."""
    plain = as_json(plan)
    path = Path(RESULTS) / "plans" / f"{slug}-{digest(canonical(plain))}.json"
    if not path.exists():
        # On one line: indented, thousands of points take eight times as long.
        write_text(path, json.dumps(plain, allow_nan=False) + "\n")
    STORED.add(str(path))
    return str(path)


def store_caption(caption: str, name: str) -> str:
    """Write results/plans/captions/NAME.rst, unless it is there; returns its absolute path, as a rule can name it."""
    path = (Path(RESULTS) / "plans" / "captions" / f"{name}.rst").absolute()
    if not path.exists() or path.read_text(encoding="utf-8") != caption:
        write_text(path, caption)
    return str(path)


def store_codes(study: Study) -> None:
    """Write down what the code fingerprints of all points stand for, unless it is there."""
    judged = [point for target in study.folds for point in study.fold_points(target)]
    for modules in {point_modules(point.settings) for point in (*judged, *study.points)}:
        store_code(study.counted_packages, *modules)


def update_index(study: Study) -> None:
    """results/index.csv: one line per id with the settings behind it; ids of other configs stay."""
    path = Path(RESULTS) / "index.csv"
    columns = ["stage", "id", "settings"]
    try:
        rows = read_csv(path) if path.exists() else []
    except SapError:
        rows = []  # nothing is computed from it: a damaged one is made anew
    rows = [row for row in rows if row.keys() == set(columns) and None not in row.values()]
    known = {(row["stage"], row["id"]): row["settings"] for row in rows}
    lines = dict(known)
    lines |= {key: canonical(fields) for key, fields in study.settings_by_id.items()}
    lines |= {("point", point.id): canonical(point.settings) for point in study.points}
    if lines != known:
        rows = [{"stage": stage, "id": name, "settings": text} for (stage, name), text in sorted(lines.items())]
        write_csv(path, rows, columns)
