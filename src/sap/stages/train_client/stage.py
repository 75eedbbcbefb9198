"""One client trains one adapter on its own domain. No target here: every held-out domain reuses it."""

from collections.abc import Iterator

from sap.plan.stage import Identity, Job, Stage
from sap.plan.study import Study
from sap.plan.trainees import Trainee


def identify(study: Study, trainee: Trainee) -> Identity:
    return trainee.identity


def jobs(study: Study) -> Iterator[Job]:
    for trainee in study.trainees:
        for seed in study.seeds_of(trainee):
            title = f"{trainee.name}, seed {seed}"
            yield study.job("train_client", trainee, title=title, trainee=trainee.name, seed=seed)


STAGE = Stage(
    "train_client",
    "{trainee}/seed-{seed}",
    ("train.jsonl", "meta.json"),
    identify,
    jobs,
    upload=("adapter_model.safetensors", "adapter_config.json", "meta.json"),
    named=2,
    reported=True,
    gpu=True,
    memory=8000,
    minutes=240,
)
