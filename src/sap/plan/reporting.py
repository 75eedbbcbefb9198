"""What tables and figures read: points by their labels, and where rows, costs and evidence lie."""

import json
from typing import Any

from sap.failures import FAILED
from sap.plan.points import attack_of, family_of, read_by
from sap.plan.settings import schema
from sap.plan.study import Study
from sap.plan.trainees import Trainee


def report_plan(study: Study) -> dict[str, Any]:
    """What tables and figures read: points with their labels and views, and where rows and costs lie."""
    shards = range(study.settings["evaluate"]["shards"])
    labels: dict[str, Any] = {}
    defs = schema()["$defs"]
    judged = [point for target in study.folds for point in study.fold_points(target)]
    for point in [*judged, *study.points]:  # points that are only probed are in no fold
        if point.id not in labels:
            labels[point.id] = {
                "id": point.id,
                "attack": attack_of(point.settings, defs["attacks"]),
                "attackers": list(point.attackers),
                "seeds": None if point.seeds is None else sorted(point.seeds),
                "label": point.label,
                "views": list(point.views),
                "settings": point.settings,
                "needs": sorted(read_by(point.settings, defs)),
                "family": family_of(point.settings, defs),
            }
    return {
        "experiment": study.name,
        "dataset": study.settings["data"]["name"],
        "classes": study.settings["data"]["classes"],
        "domains": study.domains,
        "targets": study.targets,
        "seeds": study.seeds,
        "selection": "fixed",
        "backbone": study.folder("prepare_backbone"),
        "points": list(labels.values()),
        "left_out": [{"label": point.label, "reason": reason} for point, reason in study.left_out],
        "folds": [
            {
                "target": target,
                "seed": seed,
                "clients": [client.name for client in study.sources(target)],
                "rows": f"{study.folder('evaluate', target=target, seed=seed, shard=shard)}/rows.jsonl",
            }
            for target in study.folds
            for seed in study.seeds
            for shard in shards
        ],
        "trainees": [
            {
                **_name_and_kind(study, trainee),
                "domains": [domain for domain, _ in trainee.parts],
                "seed": seed,
                "meta": f"{study.folder('train_client', trainee, trainee=trainee.name, seed=seed)}/meta.json",
            }
            for trainee in study.trainees
            for seed in study.seeds_of(trainee)
        ],
        "jobs": {
            stage.name: [{**job.place, "folder": job.folder} for job in jobs]
            for stage in study.stages.values()
            if stage.reported and (jobs := [job for job in study.jobs if job.stage is stage])
        },
        "failed": [f"{job.folder}/{FAILED}" for job in study.jobs if job.stage.fails_by_row],
        "margin": study.settings["evidence"]["margin"],
        "public": {"size": max(study.settings["anchors"]["sizes"])},
    }


def _name_and_kind(study: Study, trainee: Trainee) -> dict[str, str]:
    """client, pooled, oracle, towers or poisoned. An oracle that is also a client counts as that client."""
    declared = schema()["$defs"]["attacks"]
    for poisoned, name, attack in study.poisoned_clients:
        if poisoned == trainee:
            return {"name": f"{name}, {attack_of({'attack': json.loads(attack)}, declared)}", "kind": "poisoned"}
    if trainee in study.clients:
        kind = "client"
    elif trainee in study.both_towers:
        kind = "towers"
    else:
        kind = "pooled" if trainee.name.startswith("pooled-without-") else "oracle"
    return {"name": trainee.name, "kind": kind}


def report_inputs(study: Study) -> list[str]:
    """Files that tables and figures read: of each job the one that is written last, and its failed rows."""
    return [path for job in study.jobs if job.stage.reported for path in job.marks]
