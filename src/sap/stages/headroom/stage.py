"""Is there room above zero-shot on a domain? Frozen backbone, linear probe and both ceilings, image by image."""

from collections.abc import Iterator

from sap.failures import FAILED
from sap.plan.folds import model_fields
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.stages.headroom.plan import HeadroomPlan


def identify(study: Study) -> Identity:
    settings = study.settings
    fields = {"precision": settings["evaluate"]["precision"], "images": settings["evidence"]["images"]}
    chain = {"data": study.id("prepare_domain"), "classes": study.id("embed_classes"), "cohort": study.id("evaluate")}
    return identity(settings["data"]["name"], fields, **chain)


def jobs(study: Study) -> Iterator[Job]:
    for domain in study.targets if study.settings["evidence"]["headroom"] else ():
        for seed in study.seeds:
            yield study.job("headroom", title=f"{domain}, seed {seed}", domain=domain, seed=seed)


def plan(study: Study, domain: str, seed: int) -> HeadroomPlan:
    return HeadroomPlan(
        **model_fields(study),
        domain=domain,
        seed=seed,
        data=study.folder("prepare_domain", domain=domain),
        sources={name: study.folder("prepare_domain", domain=name) for name in study.domains if name != domain},
        pooled=study.pooled(domain).folder(seed),
        oracle=study.oracle(domain).folder(seed),
        images=study.settings["evidence"]["images"],
    )


STAGE = Stage(
    "headroom",
    "{domain}/seed-{seed}",
    ("headroom.safetensors", FAILED, "meta.json"),
    identify,
    jobs,
    plan=plan,
    reported=True,
    gpu=True,
    memory=16000,
    minutes=120,
)
