"""Do the masks of one client agree across anchor draws and sizes? And where do the kept entries lie?"""

from collections.abc import Iterator, Mapping
from typing import Any

from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study


def identify(study: Study) -> Identity:
    fields = {"sizes": study.settings["anchors"]["sizes"], "ratios": study.settings["evidence"]["mask_ratios"]}
    saliency = [study.id("score_client", gradient) for gradient in study.compared]
    return identity(study.settings["data"]["name"], fields, clients=study.client_ids, saliency=saliency)


def jobs(study: Study) -> Iterator[Job]:
    for seed in study.seeds if study.settings["evidence"]["masks"] else ():
        yield study.job("compare_masks", title=f"seed {seed}", seed=seed)


def plan(study: Study, seed: int) -> dict[str, Any]:
    """The gradients of every draw that the points use."""
    return {
        "seed": seed,
        "clients": {client.name: client.folder(seed) for client in study.clients},
        "gradients": {
            str(gradient[2]): {
                client.name: study.job_on_client("score_client", gradient, client, seed).folder
                for client in study.clients
            }
            for gradient in study.compared
        },
        "sizes": sorted(study.settings["anchors"]["sizes"]),
        "ratios": study.settings["evidence"]["mask_ratios"],
    }


def inputs(plan: Mapping[str, Any]) -> list[str]:
    folders = [*plan["clients"].values()]
    folders += [folder for clients in plan["gradients"].values() for folder in clients.values()]
    return [f"{folder}/meta.json" for folder in folders]


STAGE = Stage(
    "compare_masks",
    "seed-{seed}",
    ("masks.csv", "kept.csv", "meta.json"),
    identify,
    jobs,
    plan=plan,
    inputs=inputs,
    reported=True,
    memory=8000,
)
