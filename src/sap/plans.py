"""Plans: what a job reads, as frozen types that know the files they name. A plan travels as a JSON file.

Plans of one stage are in its room (`plan.py`); what several stages read is here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sap.errors import damaged
from sap.io import canonical, digest, read_json

P = TypeVar("P")
Folders = dict[str, str]  # name -> folder
UPLOAD = "upload"  # folder inside a job's own: what its client hands over
META = "meta.json"  # written last, so a job that waits for it waits for all of an artifact


def as_json(plan: Any) -> dict[str, Any]:
    """A plan as plain JSON."""
    return msgspec.to_builtins(plan, str_keys=True)


def read_plan(path: str | Path, kind: type[P]) -> P:
    """The plan of a file under results/plans, whose name ends in its digest; SapError where it is another one."""
    found, path = read_json(path), Path(path)
    expected = re.search(r"-([0-9a-f]{10})$", path.stem)
    if expected and digest(canonical(found)) != expected[1]:
        raise damaged(path, "its digest is not the one in its name")
    try:
        return msgspec.convert(found, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise damaged(path, f"it is no {kind.__name__}: {error}") from error


def metas(folders: Iterable[str]) -> list[str]:
    """The files to wait for in these folders, each once."""
    return [f"{folder}/{META}" for folder in dict.fromkeys(folders)]


def parts(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The settings of a point, and of the points that it is served with."""
    yield settings
    for other in settings.get("beside", ()):
        yield from parts(other)


@dataclass(frozen=True, kw_only=True)
class PointPlan:
    """One point of a plan: `settings` as the library takes them, `reads` (sap.serve), what it is judged on beside its
    target ("clients", "selection", "triggered"), and `code`, the fingerprint of everything behind its row."""

    id: str
    settings: dict[str, Any]
    code: str = ""
    reads: tuple[str, ...] = ()
    judged_on: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PublicPlan:
    """Anchors that everybody knows: their folder, and how many of them count."""

    anchors: str
    size: int


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """The frozen model and what it is asked."""

    dataset: str
    precision: str
    backbone: str
    classes: str


@dataclass(frozen=True, kw_only=True)
class SharePlan:
    """Whose images: those that a trainee holds. `domains`: folders, one per part; each of `parts` says which share of
    its domain ({"domain", "index"}, index None is all of it); the two options as the config has them, None where they
    do not touch this trainee."""

    trainee: str
    domains: tuple[str, ...]
    parts: tuple[dict[str, Any], ...]
    partition: dict[str, Any] | None
    corruption: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class FoldPlan(ModelPlan):
    """What a job reads that merges the clients of one fold at some points.

    domains, clients: name -> folder; domain_of: client -> its domain; pooled, oracle: a folder, None where no point is
    of that kind; gradients, statistics: id -> client -> folder; anchors: id of the gradients -> folder of theirs;
    poisoned: client -> attack as canonical JSON -> folder; recipes: name -> client -> folder, for the points whose
    clients trained by one; patch_size: side of every backdoor's patch, a share of the image's.
    """

    target: str
    seed: int
    domains: Folders
    clients: Folders
    points: tuple[PointPlan, ...]
    domain_of: dict[str, str] = field(default_factory=dict)
    pooled: str | None = None
    oracle: str | None = None
    gradients: dict[str, Folders] = field(default_factory=dict)
    anchors: Folders = field(default_factory=dict)
    statistics: dict[str, Folders] = field(default_factory=dict)
    poisoned: dict[str, Folders] = field(default_factory=dict)
    recipes: dict[str, Folders] = field(default_factory=dict)
    patch_size: float = 0.0
    public: PublicPlan | None = None

    @property
    def shown(self) -> PublicPlan:
        """`public` of a plan whose points are attacked or chosen by the anchors; TypeError for another plan."""
        if self.public is None:
            raise TypeError(f"the plan of {self.target}, seed {self.seed}, has no public anchors")
        return self.public

    def without(self, domain: str) -> list[str]:
        """The clients that are left where a source domain's own are held out, too."""
        return [name for name in self.clients if self.domain_of[name] != domain]

    def trained_by(self, settings: Mapping[str, Any]) -> "FoldPlan":
        """The plan of the clients that the settings merge: those of their recipe, where they name one."""
        return replace(self, clients=self.recipes[settings["recipe"]]) if "recipe" in settings else self

    @property
    def whole(self) -> Folders:
        """Folders of the ceilings that the plan has: "pooled", "oracle"."""
        return {name: folder for name in ("pooled", "oracle") if (folder := getattr(self, name))}

    def inputs(self) -> list[str]:
        """Files that such a job waits for."""
        folders = [self.backbone, self.classes, *self.domains.values(), *self.clients.values(), *self.whole.values()]
        for kinds in (self.gradients, self.statistics, self.poisoned, self.recipes):
            folders += [folder for clients in kinds.values() for folder in clients.values()]
        folders += self.anchors.values()
        return metas(folders + ([self.public.anchors] if self.public else []))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One point as tables and figures know it: `attack` is its name, empty where it is clean; `seeds` None is all;
    `group`: of its kind (sap.serve); `images`: whose images a ceiling in it was trained on; `adapters`: whether the
    clients upload their adapters for it; `choice`: what choosing its finish's options is called, empty without one."""

    id: str
    settings: dict[str, Any]
    label: str
    attack: str = ""
    attackers: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    views: tuple[str, ...] = ()
    judged_on: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    family: str | None = None
    group: str = ""
    images: str = ""
    adapters: bool = True
    choice: str = ""


@dataclass(frozen=True, kw_only=True)
class ShardRows:
    """Where the rows of one shard lie, and which clients merge there."""

    target: str
    seed: int
    clients: tuple[str, ...]
    rows: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """Who was trained: `kind` is client, pooled, oracle, towers, poisoned or recipe; `meta`: path of its meta.json."""

    name: str
    kind: str
    domains: tuple[str, ...]
    seed: int
    meta: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A row of the shipped config that this study cannot have."""

    label: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReportPlan:
    """What tables and figures read. jobs: stage -> the wildcards of each of its jobs, and its "folder"; failed: the
    files of rows that could not be computed; anchors: how many public pairs one draw has; margin: the smallest effect
    of interest, a share; beds: other experiment -> its own plan of this kind, empty where it has not run."""

    experiment: str
    dataset: str
    backbone: str
    anchors: int
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    points: tuple[Shown, ...]
    folds: tuple[ShardRows, ...]
    trainees: tuple[Training, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    jobs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    margin: float = 0.01
    beds: dict[str, str] = field(default_factory=dict)
