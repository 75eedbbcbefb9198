"""One domain's images, decoded once at the backbone's input size, with labels and split."""

from collections.abc import Iterator, Mapping
from typing import Any

from sap.data.sources import SOURCES
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.stages.prepare_domain.plan import DomainPlan


def fields(settings: Mapping[str, Any], image_input: Mapping[str, Any]) -> dict[str, Any]:
    """A domain's store does not depend on which other domains are in use, only on the class list."""
    data = settings["data"]
    read = {key: data[key] for key in ("name", "source", "split")} | SOURCES[data["source"]].fields(data)
    return {"data": read, "input": image_input, "classes": data["classes"]}


def identify(study: Study) -> Identity:
    return identity(study.settings["data"]["name"], fields(study.settings, study.input))


def jobs(study: Study) -> Iterator[Job]:
    for domain in study.domains:
        yield study.job("prepare_domain", domain=domain, title=domain)


def plan(study: Study, domain: str) -> DomainPlan:
    listing = study.source.stamp(study.settings["data"], domain)
    return DomainPlan(domain=domain, listing=listing, **fields(study.settings, study.input))


STAGE = Stage(
    "prepare_domain",
    "{domain}",
    ("images.npy", "index.csv", "skipped.csv", "examples.safetensors", "meta.json"),
    identify,
    jobs,
    plan=plan,
    reported=True,
    memory=2000,
    minutes=240,
)
