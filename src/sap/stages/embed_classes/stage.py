"""Text features of the class prompts, once for all who train or judge."""

from collections.abc import Iterator, Mapping
from typing import Any

from sap.plan.datasets import texts_of
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.stages.embed_classes.plan import ClassesPlan


def fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The texts of the classes and the templates around them."""
    return {"classes": list(texts_of(settings["data"]).values()), "prompts": settings["backbone"]["prompts"]}


def identify(study: Study) -> Identity:
    return identity(study.settings["data"]["name"], fields(study.settings), backbone=study.id("prepare_backbone"))


def jobs(study: Study) -> Iterator[Job]:
    yield study.job("embed_classes")


def plan(study: Study) -> ClassesPlan:
    return ClassesPlan(**fields(study.settings), backbone=study.folder("prepare_backbone"))


STAGE = Stage("embed_classes", "", ("text_features.safetensors", "meta.json"), identify, jobs, plan=plan, gpu=True)
