"""Is there room above zero-shot on a domain? Frozen backbone, linear probe and both ceilings, image by image."""

from collections.abc import Iterator, Mapping
from typing import Any

from sap.failures import FAILED
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study


def identify(study: Study) -> Identity:
    settings = study.settings
    fields = {"precision": settings["evaluate"]["precision"], "images": settings["evidence"]["images"]}
    chain = {"data": study.id("prepare_domain"), "classes": study.id("embed_classes"), "cohort": study.id("evaluate")}
    return identity(settings["data"]["name"], fields, **chain)


def jobs(study: Study) -> Iterator[Job]:
    for domain in study.targets if study.settings["evidence"]["headroom"] else ():
        for seed in study.seeds:
            yield study.job("headroom", title=f"{domain}, seed {seed}", domain=domain, seed=seed)


def plan(study: Study, domain: str, seed: int) -> dict[str, Any]:
    """The frozen backbone and both ceilings of one domain."""
    return {
        "dataset": study.settings["data"]["name"],
        "domain": domain,
        "precision": study.settings["evaluate"]["precision"],
        "backbone": study.folder("prepare_backbone"),
        "classes": study.folder("embed_classes"),
        "data": study.folder("prepare_domain", domain=domain),
        "pooled": {str(seed): study.pooled(domain).folder(seed)},
        "oracle": {str(seed): study.oracle(domain).folder(seed)},
        "images": study.settings["evidence"]["images"],
    }


def inputs(plan: Mapping[str, Any]) -> list[str]:
    folders = [plan["backbone"], plan["classes"], plan["data"], *plan["pooled"].values(), *plan["oracle"].values()]
    return [f"{folder}/meta.json" for folder in folders]


STAGE = Stage(
    "headroom",
    "{domain}/seed-{seed}",
    ("headroom.safetensors", FAILED, "meta.json"),
    identify,
    jobs,
    plan=plan,
    inputs=inputs,
    reported=True,
    gpu=True,
    memory=16000,
    minutes=120,
)
