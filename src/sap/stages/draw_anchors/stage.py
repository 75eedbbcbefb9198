"""The server's public image-text pairs; the first n of one draw are the set of size n."""

from collections.abc import Iterator, Mapping
from typing import Any

from sap.data.sources import PAIRS
from sap.data.sources._files import class_files
from sap.io import digest
from sap.plan.datasets import captions_of, texts_of
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.plan.watched import inputs_of, stamp_of
from sap.setting import CAPTIONS
from sap.stages.draw_anchors.plan import AnchorsPlan


def fields(settings: Mapping[str, Any], image_input: Mapping[str, Any], draw: int, pool: str) -> dict[str, Any]:
    """One draw of one pool of the config's anchors; the captions know nothing of the study's classes."""
    anchors, data = settings["anchors"], settings["data"]
    read = {"draw": draw, "input": image_input, "data": PAIRS[anchors["source"]].fields(data)}
    if pool == CAPTIONS:
        return {"anchors": {key: value for key, value in anchors.items() if key != "classes"}, **read}
    chosen = {key: anchors[key] for key in ("source", "classes", "sizes")}
    return {"anchors": chosen, **read, "words": {"texts": texts_of(data), "prompts": settings["backbone"]["prompts"]}}


def identify(study: Study, draw: int, pool: str = CAPTIONS) -> Identity:
    slug = f"{study.settings['anchors']['source']}-{draw}" if pool == CAPTIONS else f"{pool}-{draw}"
    return identity(slug, fields(study.settings, study.input, draw, pool), backbone=study.id("prepare_backbone"))


def jobs(study: Study) -> Iterator[Job]:
    for draw, pool in study.draws:
        yield study.job("draw_anchors", draw, pool, title=f"{pool}, draw {draw}")


def plan(study: Study, draw: int, pool: str = CAPTIONS) -> AnchorsPlan:
    anchors = study.settings["anchors"]
    files = captions_of(anchors) if pool == CAPTIONS else []
    labelled = anchors["classes"] if pool != CAPTIONS else None
    found = class_files(labelled, texts_of(study.settings["data"])) if labelled else None
    read: dict[str, Any] = {
        "files": tuple(inputs_of(files)),
        "stamp": stamp_of(files) if found is None else f"files-{digest(ascii(found))}",
        "backbone": study.folder("prepare_backbone"),
    }
    return AnchorsPlan(**fields(study.settings, study.input, draw, pool), **read)


STAGE = Stage(
    "draw_anchors",
    "",
    ("anchors.safetensors", "anchors.csv", "meta.json"),
    identify,
    jobs,
    plan=plan,
    reported=True,
)
