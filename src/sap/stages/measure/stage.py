"""Grams, Fisher information, sums of features or the accuracy curve of one client, for the points that ask."""

from collections.abc import Iterator

from sap.failures import FAILED
from sap.plan.points import Statistic
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.plans import SharePlan
from sap.stages.measure.plan import MeasurePlan


def identify(study: Study, measured: Statistic) -> Identity:
    kind, source = measured
    fields = {"kind": kind, "source": source, "images": study.settings["statistics"]["images"]}
    chain = {} if source == "client" else {"anchors": study.id("draw_anchors", 0)}
    return identity(f"{kind}-{source}", fields, classes=study.id("embed_classes"), **chain)


def jobs(study: Study) -> Iterator[Job]:
    for measured in study.measured:
        for client in study.clients:
            for seed in study.seeds:
                yield study.job_on_client("measure", measured, client, seed)


def plan(study: Study, measured: Statistic, train_id: str, trainee: str, seed: int) -> MeasurePlan:
    client, own = study.client(trainee), measured[1] == "client"
    return MeasurePlan(
        client=trainee,
        seed=seed,
        **study.identity("measure", measured).fields,
        share=SharePlan(**study.share_fields(client)) if own else None,
        anchors=None if own else study.folder("draw_anchors", 0),
        adapter=client.folder(seed),
        backbone=study.folder("prepare_backbone"),
        classes=study.folder("embed_classes"),
    )


STAGE = Stage(
    "measure",
    "{train_id}/{trainee}/seed-{seed}",
    (FAILED, "meta.json"),
    identify,
    jobs,
    plan=plan,
    upload=("statistics.safetensors", "meta.json"),
    reported=True,
    gpu=True,
    memory=8000,
    minutes=240,
)
