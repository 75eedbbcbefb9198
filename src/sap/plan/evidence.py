"""Plans of the stages that test the claims: headroom, towers, masks, probes and privacy."""

from collections.abc import Mapping
from typing import Any

from sap.plan.manifest import asked_of, fold_plan
from sap.plan.points import references
from sap.plan.study import Study
from sap.plan.trainees import NOBODY


def probe_plan(study: Study, seed: int) -> dict[str, Any]:
    """Everything `probe` needs: its points, merged with every domain as a client."""
    points = [*references(("zero_shot",), []), *study.in_view("probe")]
    plan = fold_plan(study, NOBODY, seed, asked_of(study, points))
    return plan | {"images": study.settings["evidence"]["images"]}


def privacy_plan(study: Study, seed: int) -> dict[str, Any]:
    """Everything `privacy` needs: how its points prune, and what every client trained on."""
    points = [*references(("zero_shot",), []), *study.in_view("privacy")]  # untouched, nobody can be a member
    plan = fold_plan(study, NOBODY, seed, asked_of(study, points))
    shares = {
        client.name: study.registry[("train_client", client.train_id, client.name)] for client in study.sources(NOBODY)
    }
    return plan | {"shares": shares, "images": study.settings["evidence"]["images"]}


def headroom_plan(study: Study, domain: str, seed: int) -> dict[str, Any]:
    """Everything `headroom` needs for one domain: the frozen backbone and both ceilings."""
    return {
        "dataset": study.settings["data"]["name"],
        "domain": domain,
        "precision": study.settings["evaluate"]["precision"],
        "backbone": study.backbone_folder,
        "classes": study.classes_folder,
        "data": study.data_folder(domain),
        "pooled": {str(seed): study.pooled(domain).folder(seed)},
        "oracle": {str(seed): study.oracle(domain).folder(seed)},
        "images": study.settings["evidence"]["images"],
    }


def towers_plan(study: Study, seed: int) -> dict[str, Any]:
    """Everything `compare_towers` needs."""
    return {"seed": seed, "clients": {client.name: client.folder(seed) for client in study.both_towers}}


def masks_plan(study: Study, seed: int) -> dict[str, Any]:
    """Everything `compare_masks` needs: the gradients of every draw that the points use."""
    return {
        "seed": seed,
        "clients": {client.name: client.folder(seed) for client in study.clients},
        "gradients": {
            str(gradient[2]): {client.name: study.saliency_folder(gradient, client, seed) for client in study.clients}
            for gradient in study.compared
        },
        "sizes": sorted(study.settings["anchors"]["sizes"]),
        "ratios": study.settings["evidence"]["mask_ratios"],
    }


def headroom_inputs(study: Study, domain: str, seed: int) -> list[str]:
    """Files that a `headroom` job reads."""
    plan = headroom_plan(study, domain, seed)
    folders = [plan["backbone"], plan["classes"], plan["data"], *plan["pooled"].values(), *plan["oracle"].values()]
    return [f"{folder}/meta.json" for folder in folders]


def adapters_of(plan: Mapping[str, Any]) -> list[str]:
    """Files that `compare_towers` or `compare_masks` reads: adapters, and gradients where the plan names any."""
    files = [f"{folder}/meta.json" for folder in plan["clients"].values()]
    for clients in plan.get("gradients", {}).values():
        files += [f"{folder}/meta.json" for folder in clients.values()]
    return files


def evidence_jobs(study: Study) -> dict[str, list[dict[str, Any]]]:
    """Which jobs the stages behind the claims have: stage -> [{"seed", "folder", "domain" of headroom}]."""
    seeds, evidence = study.seeds, study.settings["evidence"]
    asked = {
        "headroom": [
            {"domain": domain, "seed": seed, "folder": study.headroom_folder(domain, seed)}
            for domain in study.targets
            for seed in seeds
        ]
        if evidence["headroom"]
        else [],
        "compare_towers": [{"seed": seed, "folder": study.towers_folder(seed)} for seed in seeds if evidence["towers"]],
        "compare_masks": [{"seed": seed, "folder": study.masks_folder(seed)} for seed in seeds if evidence["masks"]],
        "probe": [{"seed": seed, "folder": study.probe_folder(seed)} for seed in seeds if study.in_view("probe")],
        "privacy": [{"seed": seed, "folder": study.privacy_folder(seed)} for seed in seeds if study.in_view("privacy")],
    }
    return {stage: jobs for stage, jobs in asked.items() if jobs}
