"""The last stages: of an experiment's name, not of settings, since everything that they show has ids of its own."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from sap.plan.stage import Identity, Job, Stage
from sap.plan.study import Study


def last_stage(name: str, files: tuple[str, ...], **declared: Any) -> Stage:
    """A stage with one job, whose files lie in results/NAME/EXPERIMENT (or beside those of another stage)."""
    return Stage(name, "", files, _identify, partial(_jobs, name), named=0, **declared)


def _identify(study: Study) -> Identity:
    return Identity(study.name, {})


def _jobs(name: str, study: Study) -> Iterator[Job]:
    yield study.job(name)
