"""One client trains one adapter on its own domain. No target here: every held-out domain reuses it."""

from collections.abc import Iterator

from sap.plan.stage import Identity, Job, Stage
from sap.plan.study import Study
from sap.plan.trainees import Trainee
from sap.stages.train_client.plan import TrainPlan


def identify(study: Study, who: Trainee) -> Identity:
    return who.identity


def jobs(study: Study) -> Iterator[Job]:
    for who in study.trainees:
        for seed in study.seeds_of(who):
            yield study.job("train_client", who, title=f"{who.name}, seed {seed}", trainee=who.name, seed=seed)


def plan(study: Study, who: Trainee, trainee: str, seed: int) -> TrainPlan:
    train = who.identity.fields["train"]
    backbone, classes = study.folder("prepare_backbone"), study.folder("embed_classes")
    return TrainPlan(**study.share_fields(who), seed=seed, train=train, backbone=backbone, classes=classes)


STAGE = Stage(
    "train_client",
    "{trainee}/seed-{seed}",
    ("train.jsonl", "meta.json"),
    identify,
    jobs,
    plan=plan,
    upload=("adapter_model.safetensors", "adapter_config.json", "meta.json"),
    named=2,
    reported=True,
    gpu=True,
    memory=8000,
    minutes=240,
)
