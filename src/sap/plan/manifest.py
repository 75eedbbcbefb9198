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
from sap.evaluate.rows import row_domains
from sap.io import canonical, digest, read_csv, write_csv, write_text
from sap.plan.code import code_of, store_code
from sap.plan.points import Gradient, Measured, Point, attacked_clients
from sap.plan.settings import schema
from sap.plan.study import Study
from sap.plan.trainees import RESULTS


def shard_plan(study: Study, target: str, seed: int, shard: int) -> dict[str, Any]:
    """Everything `evaluate` needs for its share of the points of one target and seed. Labels are not in it."""
    return fold_plan(study, target, seed, _shard(study, target, shard, study.seeds_asked(seed)))


def rows_owed(study: Study, target: str, seed: int, shard: int) -> dict[str, int]:
    """How many rows a shard owes for each of its points, in the plan's order."""
    asked = _shard(study, target, shard, study.seeds_asked(seed))
    return {point["id"]: len(row_domains(point, target, study.domains)) for point in asked.points}


def audit_plan(study: Study, target: str, seed: int) -> dict[str, Any]:
    """Everything `audit` needs: the merges of the main table on one fold."""
    return fold_plan(study, target, seed, asked_of(study, study.in_view("main")))


def point_plan(study: Study, point_id: str, target: str, seed: int) -> dict[str, Any]:
    """Everything `merge` needs for one point."""
    return fold_plan(study, target, seed, asked_of(study, [study.point(point_id)]))


@dataclass(frozen=True)
class Asked:
    """Some points as a plan lists them, and what they read together."""

    points: list[dict[str, Any]]
    kinds: frozenset[str]
    gradients: tuple[Gradient, ...]
    measured: tuple[Measured, ...]
    attacked: tuple[tuple[str, str], ...]  # (client, attack as canonical JSON), each once


@cache  # most seeds of a target ask the same, and Snakemake asks for a plan as a job's input and as its param
def _shard(study: Study, target: str, shard: int, seeds: frozenset[frozenset[int]]) -> Asked:
    return asked_of(study, study.shard_points(target, shard, seeds))


def asked_of(study: Study, points: list[Point]) -> Asked:
    """Points as a plan lists them, with the code and the artifacts that they read."""
    packages = counted_packages(study)
    triggered = any(_backdoored(point.settings) for point in points)  # then clean merges see the patch, too
    listed = [
        {
            "id": point.id,
            "settings": point.settings,
            "seen": "seen" in point.views,
            "select": "select" in point.views,
            "triggered": triggered and "attack" in point.views and (_backdoored(point.settings) or not point.attackers),
            "code": code_of(packages, *point_modules(point.settings)),
        }
        for point in points
    ]
    return Asked(
        listed,
        frozenset(point.settings["kind"] for point in points),
        tuple(dict.fromkeys(point.gradient for point in points if point.gradient)),
        tuple(dict.fromkeys(kind for point in points for kind in point.measured)),
        tuple(
            dict.fromkeys((name, canonical(point.settings["attack"])) for point in points for name in point.attackers)
        ),
    )


def _backdoored(settings: Mapping[str, Any]) -> bool:
    return "attack" in settings and settings["attack"]["kind"] == "backdoor"


def fold_plan(study: Study, target: str, seed: int, asked: Asked) -> dict[str, Any]:
    """What a job reads that merges the clients of one fold at the asked points."""
    plan = _clean_plan(study, target, seed, asked)
    if asked.attacked:
        poisoned = {(name, attack): trainee for trainee, name, attack in study.poisoned_clients}
        plan["poisoned"] = {
            name: {
                attack: poisoned[name, attack].folder(seed)
                for other, attack in asked.attacked
                if other == name and (name, attack) in poisoned
            }
            for name in dict.fromkeys(name for name, _ in asked.attacked)
        }
    sizes = {point["settings"]["attack"]["patch_size"] for point in asked.points if _backdoored(point["settings"])}
    if sizes:
        (plan["patch_size"],) = sizes  # all backdoors share it
    if asked.attacked or any(point["select"] for point in asked.points):
        plan["public"] = {
            "anchors": study.anchors_folder(study.diagnosed[2]),
            "size": max(study.settings["anchors"]["sizes"]),
        }
    return plan


def _clean_plan(study: Study, target: str, seed: int, asked: Asked) -> dict[str, Any]:
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
    folders += [folder for attacks in plan.get("poisoned", {}).values() for folder in attacks.values()]
    folders += [plan["public"]["anchors"]] if "public" in plan else []
    return [f"{folder}/meta.json" for folder in dict.fromkeys(folders)]


def point_modules(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Code behind a point's row: reading, merging and judging, its own attack, method and criterion, not the others.

    No import leads to those three: their registries are filled by scanning a folder.
    """
    defs = schema()["$defs"]
    modules = ["sap.evaluate.load"]
    if "attack" in settings:
        modules.append(defs["attacks"][settings["attack"]["kind"]]["module"])
    if settings["kind"] == "merge":
        modules += [defs["merge"][settings["merge"]["method"]]["module"], *criterion_modules(settings)]
    return tuple(modules)


def criterion_modules(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Code of the criterion by which a point prunes, if it does."""
    criterion = settings.get("criterion", "none")
    return () if criterion == "none" else (schema()["$defs"]["criteria"][criterion]["module"],)


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
    points = [*study.points, *attacked_clients(study.points)]
    for modules in {point_modules({"kind": "zero_shot"}), *(point_modules(point.settings) for point in points)}:
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
