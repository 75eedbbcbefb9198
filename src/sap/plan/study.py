"""The whole plan of one experiment: which artifacts exist, under which ids, made from which settings.

A factor enters an id at the first stage that reads it and at no earlier one, so that changing a server-side setting
leaves the ids of the trainings alone, and changing a training setting makes new ids beside the old ones. What the
stages are stands in their rooms (sap.stages), not here. The rules ask here for paths, settings and inputs; no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sap.data.sources import PAIRS, SOURCES
from sap.data.sources._api import Pairs, Source
from sap.errors import SapError
from sap.plan.asked import Asked
from sap.plan.backbones import files_of, input_of
from sap.plan.checks import check_training
from sap.plan.datasets import captions_of
from sap.plan.settings import load_settings
from sap.plan.stage import NUMBERS, Identity, Job, Stage, identity, no_jobs
from sap.plan.trainees import NOBODY, Trainee


@dataclass(frozen=True, eq=False)  # two studies are equal when they are the same: plans are kept per study
class Study(Asked):
    """One experiment. `settings` is the resolved config, `stages` are the pipeline's by name; see `build_study`."""

    settings: Mapping[str, Any]
    stages: Mapping[str, Stage]
    _identities: dict[tuple[Any, ...], Identity] = field(default_factory=dict)

    # --- who and on what ---------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.settings["experiment"]

    @property
    def domains(self) -> list[str]:
        return self.settings["data"]["domains"]

    @property
    def targets(self) -> list[str]:
        return list(self.settings["evaluate"]["targets"] or self.domains)

    @property
    def folds(self) -> list[str]:
        """The targets, and NOBODY where any point asks to be judged with every domain as a client."""
        return [*self.targets, *([NOBODY] if self.with_everyone else [])]

    @property
    def seeds(self) -> list[int]:
        return self.settings["seeds"]

    @property
    def counted_packages(self) -> tuple[str, ...]:
        """Packages whose version counts as code."""
        return tuple(self.settings["versions"]["invalidate"])

    @cached_property
    def cohort(self) -> Identity:
        """Which clients meet which domains: what points are judged on, whatever they are."""
        fields = {"precision": self.settings["evaluate"]["precision"]}
        chain = {"data": self.id("prepare_domain"), "classes": self.id("embed_classes")}
        name = self.settings["data"]["name"]
        return identity(name, fields, clients=self.client_ids, domains=self.domains, **chain)

    @property
    def source(self) -> Source:
        """Where the clients' images come from."""
        return SOURCES[self.settings["data"]["source"]]

    @property
    def corpus_modules(self) -> list[str]:
        """Code of the corpus that the backbone is pretrained on, if it is."""
        return [self.source.module] if self.settings["backbone"]["kind"] == "scratch" else []

    @property
    def pairs(self) -> Pairs:
        """Where the anchors come from."""
        return PAIRS[self.settings["anchors"]["source"]]

    @cached_property
    def input(self) -> dict[str, Any]:
        """Side, interpolation and the like of the images that the backbone takes."""
        return input_of(self.settings)

    # --- ids, places and jobs of the stages --------------------------------------------------

    def identity(self, stage: str, *what: Any) -> Identity:
        """Id and settings of a stage; `what` says which, where a study has several."""
        key = (stage, *what)
        if key not in self._identities:
            self._identities[key] = self.stages[stage].identify(self, *what)
        return self._identities[key]

    def id(self, stage: str, *what: Any) -> str:
        """Id of a stage, as `identity`."""
        return self.identity(stage, *what).id

    def job(self, stage: str, *what: Any, title: str = "", rows: Mapping[str, int] | None = None, **place: Any) -> Job:
        """The job of a stage at `place`, the stage's wildcards."""
        return Job(self.stages[stage], self.identity(stage, *what), what, place, title, rows or {})

    def folder(self, stage: str, *what: Any, **place: Any) -> str:
        """Folder of the job of a stage at `place`."""
        return self.job(stage, *what, **place).folder

    def job_on_client(self, stage: str, what: Any, client: Trainee, seed: int) -> Job:
        """The job of a stage that has one for each client and seed, and reads the client's upload."""
        title = f"{client.name}, seed {seed}"
        return self.job(stage, what, title=title, train_id=client.train_id, trainee=client.name, seed=seed)

    @cached_property
    def jobs(self) -> list[Job]:
        """Every job that the tables and figures need, in the order of the pipeline."""
        return [job for stage in self.stages.values() for job in stage.jobs(self)]

    @cached_property
    def settings_by_id(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        """(stage, id) -> the settings that the id stands for; a trainee's name belongs to it, id/name."""
        found = {(job.stage.name, job.name): job.identity.fields for job in self.jobs if job.stage.named}
        return found | {(name, self.id(name)): self.identity(name).fields for name in self._on_demand}

    @cached_property
    def _what(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        """(stage, name) -> which of the stage's identities a path of that name means."""
        found = {(job.stage.name, job.name): job.what for job in self.jobs}
        return found | {(name, self.id(name)): () for name in self._on_demand}

    @property
    def _on_demand(self) -> list[str]:
        return [stage.name for stage in self.stages.values() if stage.jobs is no_jobs]

    def plan(self, stage: str, id: str, **place: str) -> Any:
        """What the job behind a path reads; SapError for an id of another config."""
        declared, numbers = self.stages[stage], {n: int(v) if n in NUMBERS else v for n, v in place.items()}
        name = "/".join([id, *place.values()][: declared.named])
        if (stage, name) not in self._what:
            raise SapError(
                f"{stage}: {name} is no id of this config. results/index.csv says what an id stands for; "
                "give the config file that makes it with --configfile."
            )
        return declared.plan(self, *self._what[stage, name], **numbers)


def build_study(config: Mapping[str, Any], stages: Mapping[str, Stage]) -> Study:
    """Check a config (as Snakemake reads it) and plan its experiment; raises SapError for what is wrong."""
    study = Study(load_settings(config), stages)
    _ = files_of(study.settings["backbone"]), captions_of(study.settings["anchors"])  # before anything reads them
    check_training(study.settings)
    _ = study.jobs
    return study
