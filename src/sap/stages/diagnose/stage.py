"""Where the updates agree, where they conflict, and in which layers the saliency lies."""

from collections.abc import Iterator

from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study


def identify(study: Study) -> Identity:
    fields = {"size": max(study.settings["anchors"]["sizes"])}
    chain = {"clients": study.client_ids, "saliency": study.id("score_client", study.diagnosed)}
    return identity(study.settings["data"]["name"], fields, **chain)


def jobs(study: Study) -> Iterator[Job]:
    for seed in study.seeds:
        yield study.job("diagnose", seed=seed, title=f"seed {seed}")


STAGE = Stage(
    "diagnose",
    "seed-{seed}",
    ("agreement.csv", "saliency.csv", "meta.json"),
    identify,
    jobs,
    reported=True,
    memory=8000,
)
