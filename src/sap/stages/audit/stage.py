"""What the merges of the main table do with their clients, layer by layer. Rows that are there stay."""

from collections.abc import Iterator

from sap.failures import FAILED
from sap.plan.folds import asked_of, fold_plan
from sap.plan.stage import Identity, Job, Stage
from sap.plan.study import Study
from sap.plans import FoldPlan


def identify(study: Study) -> Identity:
    return study.cohort


def jobs(study: Study) -> Iterator[Job]:
    for target in study.targets:
        for seed in study.seeds[:1]:  # one: what a merge does hardly depends on it
            yield study.job("audit", title=f"{target}, seed {seed}", target=target, seed=seed)


def plan(study: Study, target: str, seed: int) -> FoldPlan:
    """The merges of the main table on one fold."""
    merges = [point for point in study.in_view("main") if point.settings["kind"] == "merge"]
    return fold_plan(study, target, seed, asked_of(study, merges))


STAGE = Stage(
    "audit",
    "{target}/seed-{seed}",
    ("audit.jsonl", FAILED),
    identify,
    jobs,
    plan=plan,
    grows=True,
    reported=True,
    memory=16000,
    minutes=240,
)
