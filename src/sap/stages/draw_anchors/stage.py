"""The server's public image-text pairs; the first n of one draw are the set of size n."""

from collections.abc import Iterator, Mapping
from typing import Any

from sap.data.sources import PAIRS
from sap.plan.datasets import captions_of
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.plan.watched import inputs_of, stamp_of
from sap.stages.draw_anchors.plan import AnchorsPlan


def fields(settings: Mapping[str, Any], image_input: Mapping[str, Any], draw: int) -> dict[str, Any]:
    """One draw of the config's anchors."""
    anchors = settings["anchors"]
    own = PAIRS[anchors["source"]].fields(settings["data"])
    return {"anchors": anchors, "draw": draw, "input": image_input, "data": own}


def identify(study: Study, draw: int) -> Identity:
    slug = f"{study.settings['anchors']['source']}-{draw}"
    return identity(slug, fields(study.settings, study.input, draw), backbone=study.id("prepare_backbone"))


def jobs(study: Study) -> Iterator[Job]:
    for draw in study.draws:
        yield study.job("draw_anchors", draw, title=f"draw {draw}")


def plan(study: Study, draw: int) -> AnchorsPlan:
    files = captions_of(study.settings["anchors"])
    read: dict[str, Any] = {
        "files": tuple(inputs_of(files)),
        "stamp": stamp_of(files),
        "backbone": study.folder("prepare_backbone"),
    }
    return AnchorsPlan(**fields(study.settings, study.input, draw), **read)


STAGE = Stage("draw_anchors", "", ("anchors.safetensors", "anchors.csv", "meta.json"), identify, jobs, plan=plan)
