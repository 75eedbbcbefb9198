"""Can domain and class be read from the features after pruning? Linear probes under the points that name this stage."""

from collections.abc import Iterator

from sap.failures import FAILED
from sap.plan.folds import asked_of, fold_plan
from sap.plan.points import references
from sap.plan.stage import MERGED, Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.plan.trainees import NOBODY
from sap.stages.probe.plan import ProbePlan


def identify(study: Study) -> Identity:
    fields = {"images": study.settings["evidence"]["images"], "points": [p.id for p in study.points_at("probe")]}
    return identity(study.settings["data"]["name"], fields, cohort=study.id("evaluate"))


def jobs(study: Study) -> Iterator[Job]:
    for seed in study.seeds if study.points_at("probe") else ():
        yield study.job("probe", title=f"seed {seed}", seed=seed)


def plan(study: Study, seed: int) -> ProbePlan:
    """Its points, merged with every domain as a client."""
    points = [*references(("zero_shot",), []), *study.points_at("probe")]
    images = study.settings["evidence"]["images"]
    return fold_plan(study, NOBODY, seed, asked_of(study, points), ProbePlan, images=images)


STAGE = Stage(
    "probe",
    "seed-{seed}",
    ("probe.safetensors", "probe.csv", FAILED, "meta.json"),
    identify,
    jobs,
    plan=plan,
    reported=True,
    takes=MERGED,
    gpu=True,
    memory=16000,
    minutes=240,
)
