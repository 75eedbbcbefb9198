"""Do the clients' updates conflict more in the visual tower than in the text tower?"""

from collections.abc import Iterator

from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.stages.compare_towers.plan import TowersPlan


def identify(study: Study) -> Identity:
    clients = [[client.name, client.train_id] for client in study.both_towers]
    return identity(study.settings["data"]["name"], {}, clients=clients)


def jobs(study: Study) -> Iterator[Job]:
    for seed in study.seeds if study.settings["evidence"]["towers"] else ():
        yield study.job("compare_towers", title=f"seed {seed}", seed=seed)


def plan(study: Study, seed: int) -> TowersPlan:
    return TowersPlan(seed=seed, clients={client.name: client.folder(seed) for client in study.both_towers})


STAGE = Stage(
    "compare_towers",
    "seed-{seed}",
    ("towers.csv", "meta.json"),
    identify,
    jobs,
    plan=plan,
    reported=True,
    memory=8000,
)
