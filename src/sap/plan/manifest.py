"""The plan as files: what one evaluation shard computes, what the report shows, and what every id stands for.

Their names carry a hash of their content, so a job's command changes exactly when its work does.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sap.errors import SapError
from sap.io import canonical, digest, read_csv, write_csv, write_text
from sap.plan.code import code_of, store_code
from sap.plan.points import Gradient, Measured, Point, family_of, needs_of
from sap.plan.settings import schema
from sap.plan.study import Study
from sap.plan.trainees import RESULTS, Trainee


def shard_plan(study: Study, target: str, seed: int, shard: int) -> dict[str, Any]:
    """Everything `evaluate` needs for its share of the points of one target and seed. Labels are not in it."""
    return _fold_plan(study, target, seed, _shard(study, target, shard))


def audit_plan(study: Study, target: str, seed: int) -> dict[str, Any]:
    """Everything `audit` needs: the merges of the main table on one fold."""
    return _fold_plan(study, target, seed, _asked(study, [point for point in study.points if "main" in point.views]))


def point_plan(study: Study, point_id: str, target: str, seed: int) -> dict[str, Any]:
    """Everything `merge` needs for one point."""
    return _fold_plan(study, target, seed, _asked(study, [study.point(point_id)]))


@dataclass(frozen=True)
class _Asked:
    """Some points as a plan lists them, and what they read together."""

    points: list[dict[str, Any]]
    kinds: frozenset[str]
    gradients: tuple[Gradient, ...]
    measured: tuple[Measured, ...]


@cache  # all seeds of a target ask the same, and Snakemake asks for a plan as a job's input and as its param
def _shard(study: Study, target: str, shard: int) -> _Asked:
    return _asked(study, study.shard_points(target, shard))


def _asked(study: Study, points: list[Point]) -> _Asked:
    packages = counted_packages(study)
    listed = [
        {
            "id": point.id,
            "settings": point.settings,
            "seen": "seen" in point.views,
            "code": code_of(packages, *point_modules(point.settings)),
        }
        for point in points
    ]
    return _Asked(
        listed,
        frozenset(point.settings["kind"] for point in points),
        tuple(dict.fromkeys(point.gradient for point in points if point.gradient)),
        tuple(dict.fromkeys(kind for point in points for kind in point.measured)),
    )


def _fold_plan(study: Study, target: str, seed: int, asked: _Asked) -> dict[str, Any]:
    return {
        "dataset": study.settings["data"]["name"],
        "target": target,
        "seed": seed,
        "precision": study.settings["evaluate"]["precision"],
        "backbone": study.backbone_folder,
        "classes": study.classes_folder,
        "domains": {domain: study.data_folder(domain) for domain in study.domains},
        "clients": {client.name: client.folder(seed) for client in study.sources(target)},
        "pooled": study.pooled(target).folder(seed) if "pooled" in asked.kinds else None,
        "oracle": study.oracle(target).folder(seed) if "oracle" in asked.kinds else None,
        "gradients": {
            study.saliency_id(gradient): {
                client.name: study.saliency_folder(gradient, client, seed) for client in study.sources(target)
            }
            for gradient in asked.gradients
        },
        "anchors": {study.saliency_id(gradient): study.anchors_folder(gradient[2]) for gradient in asked.gradients},
        "statistics": {
            study.measure_id(kind): {
                client.name: study.measure_folder(study.measure_id(kind), client, seed)
                for client in study.sources(target)
            }
            for kind in asked.measured
        },
        "points": asked.points,
    }


def shard_inputs(plan: Mapping[str, Any]) -> list[str]:
    """Files that a shard reads: the meta.json of each artifact, which is written last."""
    folders = [plan["backbone"], plan["classes"], *plan["domains"].values(), *plan["clients"].values()]
    folders += [plan[kind] for kind in ("pooled", "oracle") if plan[kind]]
    for kind in ("gradients", "statistics"):
        folders += [folder for clients in plan[kind].values() for folder in clients.values()]
    folders += plan["anchors"].values()
    return [f"{folder}/meta.json" for folder in dict.fromkeys(folders)]


def point_modules(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Code behind a point's row: evaluation, composition and its own merge method, not the other methods."""
    modules = ["sap.evaluate.runner"]
    if settings["kind"] == "merge":
        method = schema()["$defs"]["merge"][settings["merge"]["method"]]
        modules += ["sap.compose", method["module"]]
        if {"anchors", "root"} & set(method["needs"]):
            modules.append("sap.saliency.judge")
        if settings["criterion"] != "none":
            modules.append(schema()["$defs"]["criteria"][settings["criterion"]]["module"])
    return tuple(modules)


def report_plan(study: Study) -> dict[str, Any]:
    """What tables and figures read: points with their labels and views, and where rows and costs lie."""
    shards = range(study.settings["evaluate"]["shards"])
    labels: dict[str, Any] = {}
    for target in study.targets:
        for point in study.fold_points(target):
            if point.id not in labels:
                labels[point.id] = {
                    "id": point.id,
                    "label": point.label,
                    "views": list(point.views),
                    "settings": point.settings,
                    "needs": sorted(needs_of(point.settings, schema()["$defs"])),
                    "family": family_of(point.settings, schema()["$defs"]),
                }
    return {
        "experiment": study.name,
        "dataset": study.settings["data"]["name"],
        "classes": study.settings["data"]["classes"],
        "domains": study.domains,
        "targets": study.targets,
        "seeds": study.seeds,
        "selection": "fixed",
        "backbone": study.backbone_folder,
        "points": list(labels.values()),
        "folds": [
            {
                "target": target,
                "seed": seed,
                "clients": [client.name for client in study.sources(target)],
                "rows": f"{study.shard_folder(target, seed, shard)}/rows.jsonl",
            }
            for target in study.targets
            for seed in study.seeds
            for shard in shards
        ],
        "trainees": [
            {
                "name": trainee.name,
                "kind": _kind_of(study, trainee),
                "domains": [domain for domain, _ in trainee.parts],
                "seed": seed,
                "meta": f"{trainee.folder(seed)}/meta.json",
            }
            for trainee in study.trainees
            for seed in study.seeds
        ],
        "saliency": [
            {
                "client": client.name,
                "seed": seed,
                "meta": f"{study.saliency_folder(gradient, client, seed)}/meta.json",
            }
            for gradient in study.gradients
            for client in study.clients
            for seed in study.seeds
        ],
        "measured": [
            {
                "client": client.name,
                "seed": seed,
                "meta": f"{study.measure_folder(study.measure_id(kind), client, seed)}/meta.json",
            }
            for kind in study.measured
            for client in study.clients
            for seed in study.seeds
        ],
        "audit": [
            {"target": target, "seed": seed, "rows": f"{study.audit_folder(target, seed)}/audit.jsonl"}
            for target in study.targets
            for seed in study.audited_seeds
        ],
        "diagnose": [
            {
                "seed": seed,
                "agreement": f"{study.diagnose_folder(seed)}/agreement.csv",
                "saliency": f"{study.diagnose_folder(seed)}/saliency.csv",
            }
            for seed in study.seeds
        ],
        "data": [{"domain": domain, "folder": study.data_folder(domain)} for domain in study.domains],
    }


def _kind_of(study: Study, trainee: Trainee) -> str:
    """client, pooled or oracle. An oracle that is also a client counts as that client."""
    if trainee in study.clients:
        return "client"
    return "pooled" if trainee.name.startswith("pooled-without-") else "oracle"


def report_inputs(plan: Mapping[str, Any]) -> list[str]:
    """Files that tables and figures read."""
    files = [fold["rows"] for fold in plan["folds"]]
    files += [item["meta"] for item in (*plan["trainees"], *plan["saliency"], *plan["measured"])]
    files += [item["rows"] for item in plan["audit"]]
    files += [item[name] for item in plan["diagnose"] for name in ("agreement", "saliency")]
    return files + [f"{item['folder']}/meta.json" for item in plan["data"]]


STORED: set[str] = set()  # every path that `store_plan` has returned in this process


def store_plan(plan: Mapping[str, Any], slug: str) -> str:
    """Write a plan under a name that carries its hash, unless it is there; returns the path."""
    path = Path(RESULTS) / "plans" / f"{slug}-{digest(canonical(plan))}.json"
    if not path.exists():
        # On one line: indented, thousands of points take eight times as long.
        write_text(path, json.dumps(plan, allow_nan=False) + "\n")
    STORED.add(str(path))
    return str(path)


def counted_packages(study: Study) -> tuple[str, ...]:
    """Packages whose version counts as code."""
    return tuple(study.settings["versions"]["invalidate"])


def store_codes(study: Study) -> None:
    """Write down what the code fingerprints of all points stand for, unless it is there."""
    for modules in {point_modules({"kind": "zero_shot"}), *(point_modules(point.settings) for point in study.points)}:
        store_code(counted_packages(study), *modules)


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
    lines |= {(key[0], "/".join(key[1:])): canonical(fields) for key, fields in study.registry.items()}
    lines |= {("point", point.id): canonical(point.settings) for point in study.points}
    if lines != known:
        rows = [{"stage": stage, "id": name, "settings": text} for (stage, name), text in sorted(lines.items())]
        write_csv(path, rows, columns)
