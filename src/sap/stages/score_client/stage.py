"""Gradients of the anchors' alignment at one client's weights: every criterion, ρ and method reads them."""

from collections.abc import Iterator

from sap.plan.points import Gradient
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.stages.score_client.plan import ScorePlan


def identify(study: Study, gradient: Gradient) -> Identity:
    alignment, reduction, draw, pool = gradient
    fields = {"alignment": alignment, "reduction": reduction, "sizes": sorted(study.settings["anchors"]["sizes"])}
    return identity(f"{alignment}-{draw}", fields, anchors=study.id("draw_anchors", draw, pool))


def jobs(study: Study) -> Iterator[Job]:
    for gradient in study.gradients:
        for client in study.clients:
            for seed in study.seeds:
                yield study.job_on_client("score_client", gradient, client, seed)


def plan(study: Study, gradient: Gradient, train_id: str, trainee: str, seed: int) -> ScorePlan:
    return ScorePlan(
        client=trainee,
        seed=seed,
        **study.identity("score_client", gradient).fields,
        adapter=study.client(trainee).folder(seed),
        anchors=study.folder("draw_anchors", gradient.draw, gradient.pool),
        backbone=study.folder("prepare_backbone"),
    )


STAGE = Stage(
    "score_client",
    "{train_id}/{trainee}/seed-{seed}",
    ("gradients.safetensors", "meta.json"),
    identify,
    jobs,
    plan=plan,
    reported=True,
    gpu=True,
    memory=8000,
)
