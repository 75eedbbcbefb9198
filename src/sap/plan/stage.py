"""What a stage of the pipeline is: one declaration, from which whatever lists stages or names their files is derived.

A stage has one name: of its room (src/sap/stages/NAME), rule, script and folder. A job's files lie in
results/NAME/ID/PLACE/; what its client hands over lies in UPLOAD inside that folder, and nothing else does.
"""

import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sap.failures import FAILED
from sap.plan.ids import make_id
from sap.plans import UPLOAD

if TYPE_CHECKING:
    from sap.plan.study import Study

RESULTS = "results"
PRUNED, MERGED = "pruned", "merged"
NUMBERS = ("seed", "shard")  # wildcards that are numbers; all others are names


@dataclass(frozen=True)
class Identity:
    """An id, and the settings behind it: exactly what the stage reads."""

    id: str
    fields: Mapping[str, Any] = field(compare=False)


def identity(slug: str, fields: Mapping[str, Any], **upstream: Any) -> Identity:
    """The identity of `fields` on top of the ids (or lists of ids) of what comes before."""
    return Identity(make_id(slug, {"fields": fields, **upstream}), fields)


def no_jobs(study: "Study") -> Iterable["Job"]:
    """Of a stage that runs on demand only."""
    return ()


def no_plan(study: "Study", **place: str | int) -> None:
    """Of a stage whose jobs read the config alone."""


def no_paths(study: "Study") -> Iterable[str]:
    """Of a stage whose jobs are all in its list."""
    return ()


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage.

    place: path of a job below its id, with the rule's wildcards; "" where an id has one job
    files, upload: names of what a finished job leaves for itself, and of what its client hands over
    identify: (study, *what) -> Identity; `what` says which, where a study has several (a draw of the anchors)
    jobs: the jobs that a study needs, upstream first
    plan: (study, *what, **place) -> what a job reads, a frozen type that knows its inputs (sap.plans)
    options: dataclass of `sap.config.option` fields: its section of the config, under its name
    uses: paths that a study's jobs on demand may make: `unused` keeps them
    beside: the stage among whose files its own lie, where they have no folder of their own
    named: components of the path that name settings: 2 where the first of `place` belongs to them, 0 where none does
    grows: rows of earlier runs stay in its files
    reported: tables and figures read it; they are older than it only when they are out of date
    takes: what it takes of the points that name it in `stages`: PRUNED uploads, or what MERGED of all clients' uploads;
        empty where points cannot name it
    gpu, memory (MB), minutes: what a job needs at its first attempt
    """

    name: str
    place: str
    files: tuple[str, ...]
    identify: Callable[..., Identity]
    jobs: Callable[["Study"], Iterable["Job"]]
    upload: tuple[str, ...] = ()
    plan: Callable[..., Any] = no_plan
    options: type | None = None
    uses: Callable[["Study"], Iterable[str]] = no_paths
    beside: str = ""
    named: int = 1
    grows: bool = False
    reported: bool = False
    takes: str = ""
    gpu: bool = False
    memory: int = 4000
    minutes: int = 60

    @property
    def pattern(self) -> str:
        """Path of a job's folder below `root`, with wildcards: `{id}/{target}/seed-{seed}`."""
        return f"{{id}}/{self.place}".rstrip("/")

    @property
    def root(self) -> str:
        """The folder of all its ids."""
        return f"{RESULTS}/{self.beside or self.name}"

    @property
    def depth(self) -> int:
        """Folders between `root` and a job's files."""
        return self.pattern.count("/") + 1

    @property
    def wildcards(self) -> tuple[str, ...]:
        """Names in `place`, in its order."""
        return tuple(name for _, name, _, _ in string.Formatter().parse(self.place) if name)

    @property
    def fails_by_row(self) -> bool:
        """Whether a job writes down what it could not compute, and succeeds."""
        return FAILED in self.files

    @property
    def marks(self) -> list[str]:
        """Of a finished job's files: meta.json, which is written last, or what grows; and what failed."""
        last = [name for name in self.files if name == "meta.json"] or list(self.files[:1])
        return [*last, *([FAILED] if self.fails_by_row else [])]

    @property
    def outputs(self) -> list[str]:
        """A job's files with wildcards, below the folder that holds results/."""
        inside = [*self.files, *(f"{UPLOAD}/{name}" for name in self.upload)]
        return [f"{self.root}/{self.pattern}/{name}" for name in inside]


@dataclass(frozen=True)
class Job:
    """One job of a stage: `what` says which of its identities, `place` are its wildcards; `rows` counts what it owes
    per point, in the plan's order."""

    stage: Stage
    identity: Identity
    what: tuple[Any, ...]
    place: Mapping[str, str | int]
    title: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.identity.id

    @property
    def folder(self) -> str:
        """Where its files and its heartbeat lie."""
        return f"{self.stage.root}/{self._below}"

    @property
    def upload(self) -> str:
        """Where that lies which its client hands over."""
        return f"{self.folder}/{UPLOAD}"

    @property
    def name(self) -> str:
        """What results/index.csv calls the settings behind it."""
        return "/".join(self._below.split("/")[: self.stage.named])

    @property
    def outputs(self) -> list[str]:
        """Its files."""
        return [path.format(id=self.id, **self.place) for path in self.stage.outputs]

    @property
    def marks(self) -> list[str]:
        """Of these, what is written last, and what of it failed."""
        return [f"{self.folder}/{name}" for name in self.stage.marks]

    @property
    def benchmark(self) -> str:
        """Where Snakemake writes down its seconds."""
        return f"{RESULTS}/benchmarks/{self.stage.name}/{self._below}.tsv"

    @property
    def _below(self) -> str:
        return self.stage.pattern.format(id=self.id, **self.place)
