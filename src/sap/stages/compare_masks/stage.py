"""Do the masks of one client agree across anchor draws and sizes? And where do the kept entries lie?"""

from collections.abc import Iterator

from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.stages.compare_masks.plan import MasksPlan


def identify(study: Study) -> Identity:
    fields = {"sizes": study.settings["anchors"]["sizes"], "ratios": study.settings["evidence"]["mask_ratios"]}
    saliency = [study.id("score_client", gradient) for gradient in study.compared]
    return identity(study.settings["data"]["name"], fields, clients=study.client_ids, saliency=saliency)


def jobs(study: Study) -> Iterator[Job]:
    for seed in study.seeds if study.settings["evidence"]["masks"] else ():
        yield study.job("compare_masks", title=f"seed {seed}", seed=seed)


def plan(study: Study, seed: int) -> MasksPlan:
    """The gradients of every draw that the points use."""
    return MasksPlan(
        seed=seed,
        clients={client.name: client.folder(seed) for client in study.clients},
        gradients={
            gradient.draw: {
                client.name: study.job_on_client("score_client", gradient, client, seed).folder
                for client in study.clients
            }
            for gradient in study.compared
        },
        sizes=tuple(sorted(study.settings["anchors"]["sizes"])),
        ratios=tuple(study.settings["evidence"]["mask_ratios"]),
    )


STAGE = Stage(
    "compare_masks",
    "seed-{seed}",
    ("masks.csv", "kept.csv", "meta.json"),
    identify,
    jobs,
    plan=plan,
    reported=True,
    memory=8000,
)
