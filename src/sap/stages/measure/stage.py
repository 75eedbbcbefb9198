"""Gram matrices or Fisher information of one client's own model, for the merge methods that ask for them."""

from collections.abc import Iterator

from sap.failures import FAILED
from sap.plan.points import Measured
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study


def identify(study: Study, measured: Measured) -> Identity:
    kind, source = measured
    fields = {"kind": kind, "source": source, "images": study.settings["statistics"]["images"]}
    chain = {} if source == "client" else {"anchors": study.id("draw_anchors", 0)}
    return identity(f"{kind}-{source}", fields, classes=study.id("embed_classes"), **chain)


def jobs(study: Study) -> Iterator[Job]:
    for measured in study.measured:
        for client in study.clients:
            for seed in study.seeds:
                yield study.job_on_client("measure", measured, client, seed)


def measured_on(study: Study, id: str, train_id: str, trainee: str, **_: str) -> list[str]:
    """Folders whose images pass through the client's model: its own domains, or the anchors."""
    if study.settings_of("measure", id)["source"] == "anchors":
        return [study.folder("draw_anchors", 0)]
    return study.stores(train_id, trainee)


STAGE = Stage(
    "measure",
    "{train_id}/{trainee}/seed-{seed}",
    (FAILED, "meta.json"),
    identify,
    jobs,
    upload=("statistics.safetensors", "meta.json"),
    reported=True,
    gpu=True,
    memory=8000,
    minutes=240,
)
