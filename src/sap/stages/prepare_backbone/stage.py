"""The frozen CLIP in open_clip's own format: pretrained on a corpus, downloaded, or read from a file."""

from collections.abc import Iterator, Mapping
from typing import Any

from sap.data.sources import SOURCES
from sap.plan.backbones import files_of
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.plan.watched import inputs_of, stamp_of
from sap.stages.prepare_backbone.plan import BackbonePlan


def fields(settings: Mapping[str, Any], image_input: Mapping[str, Any]) -> dict[str, Any]:
    """Prompts are no part of it; the source's corpus is, where the backbone is pretrained on it."""
    backbone = {key: value for key, value in settings["backbone"].items() if key != "prompts"}
    backbone |= {"interpolation": image_input["interpolation"], "resize_mode": image_input["mode"]}
    data = settings["data"]
    corpus = SOURCES[data["source"]].corpus if backbone["kind"] == "scratch" else None
    if corpus is None:
        del backbone["scratch"]
    return {"backbone": backbone, "corpus": corpus and {"source": data["source"], **corpus.fields(data)}}


def identify(study: Study) -> Identity:
    backbone = study.settings["backbone"]
    named = backbone["model"] or (backbone["checkpoint"] or "").rstrip("/").split("/")[-1]
    return identity("scratch" if backbone["kind"] == "scratch" else named, fields(study.settings, study.input))


def jobs(study: Study) -> Iterator[Job]:
    yield study.job("prepare_backbone")


def plan(study: Study) -> BackbonePlan:
    files = files_of(study.settings["backbone"])
    return BackbonePlan(**fields(study.settings, study.input), files=tuple(inputs_of(files)), stamp=stamp_of(files))


STAGE = Stage(
    "prepare_backbone",
    "",
    ("open_clip_model.safetensors", "open_clip_config.json", "meta.json"),
    identify,
    jobs,
    plan=plan,
    gpu=True,
    memory=8000,
    minutes=240,
)
