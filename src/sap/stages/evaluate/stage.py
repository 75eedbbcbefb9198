"""Many points in one process: merge in memory, predict, keep one row each. Rows that are there stay; one that fails
stops no other."""

from collections.abc import Iterator

from sap.failures import FAILED
from sap.plan.folds import rows_owed, shard_plan
from sap.plan.stage import Identity, Job, Stage
from sap.plan.study import Study


def identify(study: Study) -> Identity:
    """The cohort: which clients meet which domains. Points have ids of their own."""
    return study.cohort


def jobs(study: Study) -> Iterator[Job]:
    for target in study.folds:
        for shard in range(study.settings["evaluate"]["shards"]):
            for seed in study.seeds:
                title, owed = f"{target}, seed {seed}", rows_owed(study, target, seed, shard)
                yield study.job("evaluate", title=title, rows=owed, target=target, seed=seed, shard=shard)


STAGE = Stage(
    "evaluate",
    "{target}/seed-{seed}/shard-{shard}",
    ("rows.jsonl", "predictions.safetensors", FAILED),
    identify,
    jobs,
    plan=shard_plan,
    grows=True,
    reported=True,
    gpu=True,
    memory=16000,
    minutes=240,
)
