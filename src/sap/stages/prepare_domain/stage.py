"""One domain's images, decoded once at the backbone's input size, with labels and split."""

from collections.abc import Iterator, Mapping
from typing import Any

from sap.plan.datasets import listing_of
from sap.plan.fields import digits_fields
from sap.plan.stage import Identity, Job, Stage, identity
from sap.plan.study import Study
from sap.stages.prepare_domain.plan import DomainPlan


def fields(settings: Mapping[str, Any], image_input: Mapping[str, Any]) -> dict[str, Any]:
    """A domain's store does not depend on which other domains are in use, only on the class list."""
    digits = settings["data"]["source"] == "digits"
    ignored = {"domains", "classes", "class_names", *(("root", "problems", "exif") if digits else ("digits",))}
    data = {key: value for key, value in settings["data"].items() if key not in ignored}
    if digits:
        data["digits"] = digits_fields(settings, "per_class")
    return {"data": data, "input": image_input, "classes": settings["data"]["classes"]}


def identify(study: Study) -> Identity:
    return identity(study.settings["data"]["name"], fields(study.settings, study.input))


def jobs(study: Study) -> Iterator[Job]:
    for domain in study.domains:
        yield study.job("prepare_domain", domain=domain, title=domain)


def plan(study: Study, domain: str) -> DomainPlan:
    listing = listing_of(study.settings["data"], domain)
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
