"""One merged update as a file, on demand: `evaluate` merges in memory and gives the same predictions."""

from collections.abc import Iterator

from sap.plan.folds import asked_of, fold_plan
from sap.plan.stage import RESULTS, Identity, Stage, no_jobs
from sap.plan.study import Study
from sap.plans import FoldPlan


def identify(study: Study) -> Identity:
    return study.cohort


def plan(study: Study, point: str, target: str, seed: int) -> FoldPlan:
    """One point's clients."""
    return fold_plan(study, target, seed, asked_of(study, [study.point(point)]))


def uses(study: Study) -> Iterator[str]:
    for point in study.points:
        yield f"{RESULTS}/merge/{study.cohort.id}/{point.id}"


STAGE = Stage(
    "merge",
    "{point}/{target}/seed-{seed}",
    ("update.safetensors", "meta.json"),
    identify,
    no_jobs,
    plan=plan,
    uses=uses,
    memory=16000,
)
