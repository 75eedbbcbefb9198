"""What tables and figures read: points by their labels, and where rows, costs and evidence lie."""

import json
from collections.abc import Mapping
from typing import Any

from sap.failures import FAILED
from sap.plan.evidence import evidence_jobs
from sap.plan.points import attack_of, family_of, needs_of
from sap.plan.settings import schema
from sap.plan.study import Study
from sap.plan.trainees import Trainee, record_of


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
                "needs": sorted(needs_of(point.settings, defs)),
                "family": family_of(point.settings, defs),
            }
    plan = {
        "experiment": study.name,
        "dataset": study.settings["data"]["name"],
        "classes": study.settings["data"]["classes"],
        "domains": study.domains,
        "targets": study.targets,
        "seeds": study.seeds,
        "selection": "fixed",
        "backbone": study.backbone_folder,
        "points": list(labels.values()),
        "left_out": [{"label": point.label, "reason": reason} for point, reason in study.left_out],
        "folds": [
            {
                "target": target,
                "seed": seed,
                "clients": [client.name for client in study.sources(target)],
                "rows": f"{study.shard_folder(target, seed, shard)}/rows.jsonl",
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
                "meta": f"{record_of(trainee.folder(seed))}/meta.json",
            }
            for trainee in study.trainees
            for seed in study.seeds_of(trainee)
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
                "meta": f"{record_of(study.measure_folder(study.measure_id(kind), client, seed))}/meta.json",
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
        "evidence": evidence_jobs(study),
        "margin": study.settings["evidence"]["margin"],
        "public": {"size": max(study.settings["anchors"]["sizes"])},
    }
    return plan | {"failed": _failed(plan)}


def _failed(plan: Mapping[str, Any]) -> list[str]:
    """Where the jobs whose rows can fail write down those that did."""
    files = [item["rows"] for item in (*plan["folds"], *plan["audit"])] + [item["meta"] for item in plan["measured"]]
    folders = [file.rpartition("/")[0] for file in files]
    folders += [job["folder"] for stage in ("headroom", "probe", "privacy") for job in plan["evidence"].get(stage, [])]
    return [f"{folder}/{FAILED}" for folder in folders]


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


def report_inputs(plan: Mapping[str, Any]) -> list[str]:
    """Files that tables and figures read."""
    files = [fold["rows"] for fold in plan["folds"]]
    files += [item["meta"] for item in (*plan["trainees"], *plan["saliency"], *plan["measured"])]
    files += [item["rows"] for item in plan["audit"]] + plan["failed"]
    files += [item[name] for item in plan["diagnose"] for name in ("agreement", "saliency")]
    files += [f"{job['folder']}/meta.json" for jobs in plan["evidence"].values() for job in jobs]
    return files + [f"{item['folder']}/meta.json" for item in plan["data"]]
