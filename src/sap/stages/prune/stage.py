"""One client's update as a point prunes and rescales it, as a file, on demand: for inspection."""

from collections.abc import Iterator

from sap.plan.folds import asked_of
from sap.plan.stage import RESULTS, Identity, Stage, no_jobs
from sap.plan.study import Study
from sap.setting import PLAIN
from sap.stages.prune.plan import PrunePlan


def identify(study: Study) -> Identity:
    return study.cohort


def uses(study: Study) -> Iterator[str]:
    for point in study.points:
        yield f"{RESULTS}/prune/{study.cohort.id}/{point.id}"


def plan(study: Study, point: str, trainee: str, seed: int) -> PrunePlan:
    """A client's adapter, and its gradients and statistics where the point reads any."""
    found = study.point(point)
    client = study.trained_by(found.settings.get("recipe", PLAIN), trainee)
    return PrunePlan(
        client=trainee,
        seed=seed,
        point=asked_of(study, [found]).points[0],
        adapter=client.folder(seed),
        gradients=next((study.job_on_client("score_client", g, client, seed).folder for g in found.gradients), None),
        statistics={
            study.id("measure", kind): study.job_on_client("measure", kind, client, seed).upload
            for kind in found.measured
        },
    )


STAGE = Stage(
    "prune",
    "{point}/{trainee}/seed-{seed}",
    ("update.safetensors", "meta.json"),
    identify,
    no_jobs,
    plan=plan,
    uses=uses,
    memory=8000,
)
