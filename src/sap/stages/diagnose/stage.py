"""Where the updates agree, where they conflict, and in which layers the saliency lies."""

from collections.abc import Iterator

from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.stages.diagnose.plan import DiagnosePlan


def identify(study: Study) -> Identity:
    fields = {"size": max(study.settings["anchors"]["sizes"])}
    chain = {"clients": study.client_ids, "saliency": study.id("score_client", study.diagnosed)}
    return identity(study.settings["data"]["name"], fields, **chain)


def jobs(study: Study) -> Iterator[Job]:
    for seed in study.seeds:
        yield study.job("diagnose", seed=seed, title=f"seed {seed}")


def plan(study: Study, seed: int) -> DiagnosePlan:
    gradients = {
        client.name: study.job_on_client("score_client", study.diagnosed, client, seed).folder
        for client in study.clients
    }
    clients = {client.name: client.folder(seed) for client in study.clients}
    return DiagnosePlan(seed=seed, clients=clients, gradients=gradients, **study.identity("diagnose").fields)


STAGE = Stage(
    "diagnose",
    "seed-{seed}",
    ("agreement.csv", "saliency.csv", "meta.json"),
    identify,
    jobs,
    plan=plan,
    reported=True,
    memory=8000,
)
