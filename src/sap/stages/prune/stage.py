"""One client's update as a point prunes and rescales it, as a file, on demand: for inspection."""

from collections.abc import Iterator
from typing import Any

from sap.plan.stage import RESULTS, Identity, Stage, no_jobs
from sap.plan.study import Study


def identify(study: Study) -> Identity:
    return study.cohort


def uses(study: Study) -> Iterator[str]:
    for point in study.points:
        yield f"{RESULTS}/prune/{study.cohort.id}/{point.id}"


def read_by(study: Study, id: str, point: str, trainee: str, seed: str) -> dict[str, Any]:
    """A client's adapter, and its gradients and statistics where the point reads any."""
    study.settings_of("prune", id)
    client, found = study.client(trainee), study.point(point)
    files: dict[str, Any] = {"adapter": f"{client.folder(seed)}/meta.json"}
    if found.gradient:
        job = study.job_on_client("score_client", found.gradient, client, int(seed))
        files["gradients"] = f"{job.folder}/gradients.safetensors"
    files["statistics"] = [
        f"{study.job_on_client('measure', kind, client, int(seed)).upload}/statistics.safetensors"
        for kind in found.measured
    ]
    return files


STAGE = Stage(
    "prune",
    "{point}/{trainee}/seed-{seed}",
    ("update.safetensors", "meta.json"),
    identify,
    no_jobs,
    uses=uses,
    memory=8000,
)
