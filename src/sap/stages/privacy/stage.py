"""Does an upload tell who was in the training data, before and after pruning? And what does pruning save?"""

from collections.abc import Iterator

from sap.failures import FAILED
from sap.plan.folds import asked_of, fold_plan
from sap.plan.points import references
from sap.plan.stage import PRUNED, Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.plan.trainees import NOBODY
from sap.plans import SharePlan
from sap.stages.privacy.plan import PrivacyPlan


def identify(study: Study) -> Identity:
    fields = {"images": study.settings["evidence"]["images"], "points": [p.id for p in study.points_at("privacy")]}
    return identity(study.settings["data"]["name"], fields, cohort=study.id("evaluate"))


def jobs(study: Study) -> Iterator[Job]:
    for seed in study.seeds if study.points_at("privacy") else ():
        yield study.job("privacy", title=f"seed {seed}", seed=seed)


def plan(study: Study, seed: int) -> PrivacyPlan:
    """How its points prune, and what every client trained on."""
    points = [*references(("zero_shot",), []), *study.points_at("privacy")]  # untouched, nobody can be a member
    return fold_plan(
        study,
        NOBODY,
        seed,
        asked_of(study, points),
        PrivacyPlan,
        shares={client.name: SharePlan(**study.share_fields(client)) for client in study.sources(NOBODY)},
        images=study.settings["evidence"]["images"],
    )


STAGE = Stage(
    "privacy",
    "seed-{seed}",
    ("privacy.csv", "bytes.csv", FAILED, "meta.json"),
    identify,
    jobs,
    plan=plan,
    reported=True,
    takes=PRUNED,
    gpu=True,
    memory=16000,
    minutes=240,
)
