"""Gradients of the anchors' alignment at one client's weights: every criterion, ρ and method reads them."""

from collections.abc import Iterator

from sap.plan.points import Gradient
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study


def identify(study: Study, gradient: Gradient) -> Identity:
    alignment, reduction, draw = gradient
    fields = {"alignment": alignment, "reduction": reduction, "sizes": sorted(study.settings["anchors"]["sizes"])}
    return identity(f"{alignment}-{draw}", fields, anchors=study.id("draw_anchors", draw))


def jobs(study: Study) -> Iterator[Job]:
    for gradient in study.gradients:
        for client in study.clients:
            for seed in study.seeds:
                yield study.job_on_client("score_client", gradient, client, seed)


def anchors_behind(study: Study, id: str) -> str:
    """Folder of the anchors that the gradients of this id are computed on."""
    study.settings_of("score_client", id)
    draw = next(gradient[2] for gradient in study.gradients if study.id("score_client", gradient) == id)
    return study.folder("draw_anchors", draw)


STAGE = Stage(
    "score_client",
    "{train_id}/{trainee}/seed-{seed}",
    ("gradients.safetensors", "meta.json"),
    identify,
    jobs,
    reported=True,
    gpu=True,
    memory=8000,
)
