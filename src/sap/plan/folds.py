"""What a job reads that merges the clients of one fold: its points, and where everything that they read lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sap.evaluate.rows import judged_on
from sap.io import canonical
from sap.plan.code import code_of
from sap.plan.points import Gradient, Point, Statistic
from sap.plan.schema import schema
from sap.plan.study import Study
from sap.plans import FoldPlan, PointPlan, PublicPlan, parts


def shard_plan(study: Study, target: str, seed: int, shard: int) -> FoldPlan:
    """Everything `evaluate` needs for its share of the points of one target and seed. Labels are not in it."""
    return fold_plan(study, target, seed, _shard(study, target, shard, study.seeds_asked(seed)))


def rows_owed(study: Study, target: str, seed: int, shard: int) -> dict[str, int]:
    """How many rows a shard owes for each of its points, in the plan's order."""
    asked = _shard(study, target, shard, study.seeds_asked(seed))
    return {point.id: len(judged_on(point, target, study.domains)) for point in asked.points}


@dataclass(frozen=True)
class Asked:
    """Some points as a plan lists them, and what they read together."""

    points: tuple[PointPlan, ...]
    reads: frozenset[str]
    gradients: tuple[Gradient, ...]
    measured: tuple[Statistic, ...]
    recipes: tuple[str, ...]
    attacked: tuple[tuple[str, str], ...]  # (client, attack as canonical JSON), each once


@cache  # most seeds of a target ask the same, and Snakemake asks for a plan as a job's input and as its param
def _shard(study: Study, target: str, shard: int, seeds: frozenset[frozenset[int]]) -> Asked:
    return asked_of(study, study.shard_points(target, shard, seeds), judged=True)


def asked_of(study: Study, points: list[Point], judged: bool = False) -> Asked:
    """Points as a plan lists them, with the code and the artifacts that they read; what they are judged on only where
    they are `judged`."""
    packages = study.counted_packages
    triggered = any(_backdoored(point.settings) for point in points)  # then clean merges see the patch, too
    listed = tuple(
        PointPlan(
            id=point.id,
            settings=dict(point.settings),
            code=code_of(packages, *point_modules(point.settings)),
            reads=_reads(point.settings),
            judged_on=_judged_on(study, point, triggered) if judged else (),
        )
        for point in points
    )
    return Asked(
        listed,
        frozenset(read for point in listed for read in point.reads),
        tuple(dict.fromkeys(gradient for point in points for gradient in point.gradients)),
        tuple(dict.fromkeys(kind for point in points for kind in point.measured)),
        tuple(dict.fromkeys(recipe for point in points for recipe in point.recipes)),
        tuple(
            dict.fromkeys((name, canonical(point.settings["attack"])) for point in points for name in point.attackers)
        ),
    )


def _reads(settings: Mapping[str, Any]) -> tuple[str, ...]:
    kinds = schema()["$defs"]["kinds"]
    return tuple(dict.fromkeys(read for part in parts(settings) for read in kinds[part["kind"]]["reads"]))


def _judged_on(study: Study, point: Point, triggered: bool) -> tuple[str, ...]:
    """What a plan says of it: an image with the patch is judged by what meets the backdoor, or is clean beside it."""
    stamped = triggered and "attack" in point.views and (_backdoored(point.settings) or not point.attackers)
    words = tuple(word for word in ("clients", "selection") if word in point.judged_on)
    return words + ("held_out",) * study.left_one_out(point) + ("triggered",) * stamped


def _backdoored(settings: Mapping[str, Any]) -> bool:
    return "attack" in settings and settings["attack"]["kind"] == "backdoor"


def model_fields(study: Study) -> dict[str, str]:
    """The fields of every plan that asks the model (sap.plans.ModelPlan)."""
    return {
        "dataset": study.settings["data"]["name"],
        "precision": study.settings["evaluate"]["precision"],
        "backbone": study.folder("prepare_backbone"),
        "classes": study.folder("embed_classes"),
    }


def fold_plan(study: Study, target: str, seed: int, asked: Asked, kind: type[FoldPlan] = FoldPlan, **more: Any) -> Any:
    """What a job reads that merges the clients of one fold at the asked points; `more` are the fields of `kind`."""
    sources = study.sources(target)
    patches = {point.settings["attack"]["patch_size"] for point in asked.points if _backdoored(point.settings)}
    reads_anchors = asked.attacked or any("selection" in point.judged_on for point in asked.points)
    public = PublicPlan(
        anchors=study.folder("draw_anchors", study.diagnosed.draw), size=max(study.settings["anchors"]["sizes"])
    )
    return kind(
        **model_fields(study),
        target=target,
        seed=seed,
        domains={domain: study.folder("prepare_domain", domain=domain) for domain in study.domains},
        clients={client.name: client.folder(seed) for client in sources},
        domain_of={client.name: client.parts[0][0] for client in sources},
        points=asked.points,
        pooled=study.pooled(target).folder(seed) if "pooled" in asked.reads else None,
        oracle=study.oracle(target).folder(seed) if "oracle" in asked.reads else None,
        gradients={
            study.id("score_client", gradient): {
                client.name: study.job_on_client("score_client", gradient, client, seed).folder for client in sources
            }
            for gradient in asked.gradients
        },
        anchors={
            study.id("score_client", gradient): study.folder("draw_anchors", gradient.draw, gradient.pool)
            for gradient in asked.gradients
        },
        statistics={
            study.id("measure", measured): {
                client.name: study.job_on_client("measure", measured, client, seed).upload for client in sources
            }
            for measured in asked.measured
        },
        poisoned=_poisoned(study, seed, asked),
        recipes={
            recipe: {client.name: study.trained_by(recipe, client.name).folder(seed) for client in sources}
            for recipe in asked.recipes
        },
        patch_size=patches.pop() if patches else 0.0,  # all backdoors share it
        public=public if reads_anchors else None,
        **more,
    )


def _poisoned(study: Study, seed: int, asked: Asked) -> dict[str, dict[str, str]]:
    """client -> attack -> upload, for the attacks that make a client train wrongly."""
    trained = {(name, attack): trainee for trainee, name, attack in study.poisoned_clients}
    return {
        name: {
            attack: trained[name, attack].folder(seed)
            for other, attack in asked.attacked
            if other == name and (name, attack) in trained
        }
        for name in dict.fromkeys(name for name, _ in asked.attacked)
    }


def point_modules(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Code behind a point's row: reading and judging, its own kind, attack, method, criterion and finish, no other.

    No import leads to those five: their registries are filled by scanning a folder.
    """
    defs = schema()["$defs"]
    modules = ["sap.evaluate.load", "sap.evaluate.judging"]
    for part in parts(settings):
        modules.append(defs["kinds"][part["kind"]]["module"])
        if "attack" in part:
            modules.append(defs["attacks"][part["attack"]["kind"]]["module"])
        if "merge" in part:
            modules.append(defs["merge"][part["merge"]["method"]]["module"])
            criterion = part.get("criterion", "none")
            modules += [defs["finishes"][part["finish"]["method"]]["module"]] if "finish" in part else []
            modules += [] if criterion == "none" else [defs["criteria"][criterion]["module"]]
    return tuple(dict.fromkeys(modules))
