"""What a job reads that merges the clients of one fold: its points, and where everything that they read lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sap.evaluate.rows import row_domains
from sap.io import canonical
from sap.plan.code import code_of
from sap.plan.points import Gradient, Measured, Point
from sap.plan.settings import schema
from sap.plan.study import Study


def shard_plan(study: Study, target: str, seed: int, shard: int) -> dict[str, Any]:
    """Everything `evaluate` needs for its share of the points of one target and seed. Labels are not in it."""
    return fold_plan(study, target, seed, _shard(study, target, shard, study.seeds_asked(seed)))


def rows_owed(study: Study, target: str, seed: int, shard: int) -> dict[str, int]:
    """How many rows a shard owes for each of its points, in the plan's order."""
    asked = _shard(study, target, shard, study.seeds_asked(seed))
    return {point["id"]: len(row_domains(point, target, study.domains)) for point in asked.points}


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
    packages = study.counted_packages
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
            "anchors": study.folder("draw_anchors", study.diagnosed[2]),
            "size": max(study.settings["anchors"]["sizes"]),
        }
    return plan


def _clean_plan(study: Study, target: str, seed: int, asked: Asked) -> dict[str, Any]:
    return {
        "dataset": study.settings["data"]["name"],
        "target": target,
        "seed": seed,
        "precision": study.settings["evaluate"]["precision"],
        "backbone": study.folder("prepare_backbone"),
        "classes": study.folder("embed_classes"),
        "domains": {domain: study.folder("prepare_domain", domain=domain) for domain in study.domains},
        "clients": {client.name: client.folder(seed) for client in study.sources(target)},
        "pooled": study.pooled(target).folder(seed) if "pooled" in asked.kinds else None,
        "oracle": study.oracle(target).folder(seed) if "oracle" in asked.kinds else None,
        "gradients": {
            study.id("score_client", gradient): {
                client.name: study.job_on_client("score_client", gradient, client, seed).folder
                for client in study.sources(target)
            }
            for gradient in asked.gradients
        },
        "anchors": {
            study.id("score_client", gradient): study.folder("draw_anchors", gradient[2])
            for gradient in asked.gradients
        },
        "statistics": {
            study.id("measure", kind): {
                client.name: study.job_on_client("measure", kind, client, seed).upload
                for client in study.sources(target)
            }
            for kind in asked.measured
        },
        "points": asked.points,
    }


def fold_inputs(plan: Mapping[str, Any]) -> list[str]:
    """Files that such a job reads: the meta.json of each artifact, which is written last."""
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
