"""Do the clients' updates conflict more in the visual tower than in the text tower?"""

from collections.abc import Iterator, Mapping
from typing import Any

from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study


def identify(study: Study) -> Identity:
    clients = [[client.name, client.train_id] for client in study.both_towers]
    return identity(study.settings["data"]["name"], {}, clients=clients)


def jobs(study: Study) -> Iterator[Job]:
    for seed in study.seeds if study.settings["evidence"]["towers"] else ():
        yield study.job("compare_towers", title=f"seed {seed}", seed=seed)


def plan(study: Study, seed: int) -> dict[str, Any]:
    return {"seed": seed, "clients": {client.name: client.folder(seed) for client in study.both_towers}}


def inputs(plan: Mapping[str, Any]) -> list[str]:
    return [f"{folder}/meta.json" for folder in plan["clients"].values()]


STAGE = Stage(
    "compare_towers",
    "seed-{seed}",
    ("towers.csv", "meta.json"),
    identify,
    jobs,
    plan=plan,
    inputs=inputs,
    reported=True,
    memory=8000,
)
