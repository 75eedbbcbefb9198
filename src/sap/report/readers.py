"""What a plan names, read into pandas frames one by one; a file that is absent leaves its cells missing."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sap.errors import SapError
from sap.escape import plain_cell
from sap.evaluate.rows import name_of
from sap.failures import handed_back
from sap.io import canonical, read_meta, sealed_rows, verified
from sap.plans import ReportPlan, Shown, Training, parts
from sap.setting import CAPTIONS, FIELDS, PLAIN

ATTACK_FACTS = ["attacker_weight", "attacker_norm", "attacker_kept", "honest_kept"]
ROW_COLUMNS = [
    "point", "kind", "target", "seed", "domain", "images", "n", "correct", "accuracy", "norm", "passes",
    "parameters", "uploaded", "seconds", "index",
    "predictions", "shard", "anchor_loss", *ATTACK_FACTS,
]  # fmt: skip
SETTING_COLUMNS = [name for name in FIELDS if name not in ("merge", "finish", "attack", "attackers")]
_SHOWN = (
    "attack", "attackers", "seeds", "label", "group", "images", "adapters", "views", "judged_on", "stages", "needs",
    "family",
)  # fmt: skip
POINT_COLUMNS = [*_SHOWN, "kind", "client", "served", "merge", "merge_key", *SETTING_COLUMNS]
AUDIT_COLUMNS = [
    "point", "target", "seed", "layer", "coefficients", "unexplained", "cross", "denominator", "norm_ratio", "energy",
    "survivors", "order", "scale", "rank", "upload_bytes",
]  # fmt: skip
TRAINING_FACTS = [
    "seconds", "peak_memory_bytes", "upload_bytes", "sample_count", "val_accuracy", "start_accuracy", "device",
]  # fmt: skip
FAILURE_COLUMNS = ["stage", "point", "target", "seed", "domain", "images", "client", "error", "folder"]


def points(points: Sequence[Shown]) -> pd.DataFrame:
    """One row per planned point, indexed by id (POINT_COLUMNS)."""
    spread: dict[str, set[str]] = {}
    for point in points:
        merge = _merged(point.settings)
        if merge:
            spread.setdefault(merge["method"], set()).add(canonical(merge))
    records = []
    for point in points:
        settings = point.settings
        merge = _merged(settings)
        record = {name: settings.get(name) for name in ("kind", "client", *SETTING_COLUMNS)}
        if "merge" in settings:
            record["control"] = record["control"] or "none"  # a plan leaves out what cannot matter
            record["recipe"] = record["recipe"] or PLAIN
            if not record["prune_ratio"]:
                record["criterion"] = "none"  # nothing is cut, whatever would have ranked the entries
        if "alignment" in settings:
            record["anchor_pool"] = record["anchor_pool"] or CAPTIONS  # likewise
        sizes = [part["anchor_size"] for part in parts(settings) if "anchor_size" in part]
        served = {name: settings[name] for name in ("serve", "beside") if name in settings}
        records.append(
            {
                **record,
                **{name: getattr(point, name) for name in _SHOWN},
                "anchor_size": max(sizes, default=None),
                "served": canonical(served) if served else None,
                "merge": merge and _merge_label(merge, with_options=len(spread[merge["method"]]) > 1),
                "merge_key": merge and canonical(merge),
            }
        )
    index = pd.Index([point.id for point in points], name="point", dtype=object)
    return pd.DataFrame(records, index=index, columns=POINT_COLUMNS, dtype=object)


def _merged(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What merged the clients, the finish included: whoever looks for a plain merge finds no finished one."""
    if "finish" not in settings:
        return settings.get("merge")
    merge, finish = settings["merge"], settings["finish"]
    options = {f"{finish['method']} {name}": value for name, value in finish.items() if name != "method"}
    return {**merge, **options, "method": f"{merge['method']} → {finish['method']}"}


def _merge_label(merge: Mapping[str, Any], with_options: bool) -> str:
    """`ties`, or `ties (density 0.2)` where a plan holds the method with several options."""
    options = ", ".join(f"{name} {value}" for name, value in merge.items() if name != "method")
    return f"{merge['method']} ({options})" if options and with_options else merge["method"]


def rows(plan: ReportPlan, found: Callable[[str], Path | None], live: bool) -> pd.DataFrame:
    """The rows of the plan's folds (ROW_COLUMNS); SapError where one comes twice."""
    known = {point.id for point in plan.points}
    records = []
    for fold in plan.folds:
        path = found(fold.rows)
        there = _rows_so_far(fold.rows, found) if live else _intact(path, "evaluate") if path else []
        there = [row | {"shard": str(path)} for row in there]
        # The file may also hold rows of other experiments: only the plan's points belong here.
        records += [row for row in there if row["point"] in known]
    rows = pd.DataFrame(records, columns=ROW_COLUMNS)
    twice = rows[rows.duplicated(["point", "target", "seed", "domain", "images"])]
    if len(twice):
        point, target, seed = twice.iloc[0][["point", "target", "seed"]]
        raise SapError(
            f"point {point} has two rows for target {target}, seed {seed}. "
            "Delete the fold's rows.jsonl under results/evaluate and run snakemake again."
        )
    # The order of files, shards and restarts must not reach the last digit of a sum.
    rows = rows.sort_values(["point", "target", "seed", "domain", "images"], ignore_index=True)
    return rows.astype({"seed": int, "n": int, "accuracy": float, "norm": float, "seconds": float})


def trainings(trainees: Iterable[Training], found: Callable[[str], Path | None]) -> pd.DataFrame:
    """One row per trainee and seed; a name stands for one training."""
    records = []
    for trainee in trainees:
        path = found(trainee.meta)
        meta = read_meta(path.parent) if path else {}
        records.append(
            {
                **{name: getattr(trainee, name) for name in ("name", "kind", "domains", "seed")},
                "corrupted": _corrupted(meta, trainee.name),
                **{name: meta.get(name) for name in TRAINING_FACTS},
            }
        )
    columns = ["name", "kind", "domains", "seed", "corrupted", *TRAINING_FACTS]
    trainings = _numeric(pd.DataFrame(records, columns=columns), [name for name in TRAINING_FACTS if name != "device"])
    twice = trainings[trainings.duplicated(["name", "kind", "seed"])]
    if len(twice):
        name, kind, seed = twice.iloc[0][["name", "kind", "seed"]]
        raise SapError(f"the plan names {kind} '{name}' twice for seed {seed}; a name stands for one training.")
    return trainings


def _corrupted(meta: Mapping[str, Any], name: str) -> str:
    """`derangement 100 %` for a client with corrupted labels, else an empty text."""
    options = (meta.get("settings") or {}).get("corruption") or {}
    if options.get("kind", "none") == "none" or name not in (options.get("clients") or [name]):
        return ""
    return f"{options['kind']} {100 * options['fraction']:g} %"


def costs(jobs: Iterable[Mapping[str, Any]], found: Callable[[str], Path | None]) -> pd.DataFrame:
    """One row per job: `seconds` and `peak_memory_bytes`."""
    paths = [found(f"{job['folder']}/meta.json") for job in jobs]
    metas = [read_meta(path.parent) if path else {} for path in paths]
    facts = ["seconds", "peak_memory_bytes"]
    return _numeric(pd.DataFrame([{name: meta.get(name) for name in facts} for meta in metas], columns=facts), facts)


def audit(plan: ReportPlan, found: Callable[[str], Path | None]) -> pd.DataFrame:
    """One row per audited layer (AUDIT_COLUMNS)."""
    known = {point.id for point in plan.points}
    records = []
    for job in plan.jobs.get("audit", []):
        path = found(f"{job['folder']}/audit.jsonl")
        rows = _intact(path, "audit") if path else []
        layers = Counter(row["point"] for row in rows)
        if any(row["layers"] != layers[row["point"]] for row in rows):
            raise SapError(f"{path} lacks layers of a merge. Run snakemake --forcerun audit: it measures them again.")
        records += [row for row in rows if row["point"] in known]
    return pd.DataFrame(records, columns=AUDIT_COLUMNS)


def failures(plan: ReportPlan, found: Callable[[str], Path | None], live: bool) -> pd.DataFrame:
    """One row per row of the plan's points, or of its measured clients, that failed (FAILURE_COLUMNS)."""
    known = {None, *(point.id for point in plan.points)}
    records = []
    for name in plan.failed:
        path = found(name) or found(str(handed_back(name)))
        there = [] if path is None else sealed_rows(path)[0] if live else _intact(path, name.split("/")[1])
        # The file may also hold rows of other experiments.
        records += [row | {"folder": name.rpartition("/")[0]} for row in there if row.get("point") in known]
    return pd.DataFrame(records, columns=FAILURE_COLUMNS, dtype=object)


def _intact(path: Path, stage: str) -> list[dict[str, Any]]:
    """The rows of a file; SapError where any is not as it was written."""
    rows, lost = sealed_rows(path)
    if lost:
        raise SapError(
            f"{path} is damaged ({lost} of its rows are not as they were written). Run snakemake --forcerun {stage}: "
            "it keeps the good rows and computes the others again."
        )
    return rows


def _rows_so_far(path: str, found: Callable[[str], Path | None]) -> list[dict[str, Any]]:
    """The intact rows of a shard, renewed by those that its running or killed job has saved beside it."""
    folder, name = path.rsplit("/", 1)
    places = filter(None, (found(path), found(f"{folder}.progress/{name}")))
    return list({name_of(row): row for place in places for row in sealed_rows(place)[0]}.values())


NAMES = ("client", "client_a", "client_b", "layer", "draw_a", "draw_b")


class Files(dict[tuple[str, str], pd.DataFrame]):
    """(stage, name) -> the NAME.csv of the stage's jobs, one below the other, read when it is first asked for."""

    def __init__(self, plan: ReportPlan, found: Callable[[str], Path | None]) -> None:
        super().__init__()
        self._plan, self._found = plan, found

    def __missing__(self, key: tuple[str, str]) -> pd.DataFrame:
        stage, name = key
        places = filter(None, (self._found(f"{job['folder']}/{name}.csv") for job in self._plan.jobs.get(stage, [])))
        parts = [_frame(place) for place in places]
        filled = [part for part in parts if len(part)] or parts[:1]
        self[key] = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
        return self[key]


def _frame(path: Path) -> pd.DataFrame:
    """A csv file of ours; names stay texts, also those that look like a number or like a missing one (`15`, `NA`)."""
    with open(verified(path), encoding="utf-8", newline="") as handle:
        columns = next(csv.reader(handle), [])
    missing = {column: ["", "nan"] for column in columns if column not in NAMES}
    frame = pd.read_csv(path, dtype=dict.fromkeys(NAMES, str), keep_default_na=False, na_values=missing)
    return frame.assign(**{name: frame[name].map(plain_cell) for name in NAMES if name in columns})


def _numeric(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in columns})
