"""All that a report reads, loaded once: the plan, its rows, metas and diagnoses as pandas frames."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from sap.evaluate.rows import TEST
from sap.plans import ReportPlan, read_plan
from sap.report import readers
from sap.report.outcomes import Outcomes


@dataclass(frozen=True)
class Results:
    """The frames of one experiment; shares lie in [0, 1], bytes and seconds are plain.

    points: one row per planned point, indexed by id, in plan order (POINT_COLUMNS; None where a kind lacks a setting);
        attack is its name, empty where it is clean; attackers a tuple of clients; seeds a tuple, None is all
    judged: one row per (point, target, seed, domain, images) that was evaluated (ROW_COLUMNS; sap.report.outcomes reads
        the predictions behind it); target "none" is the fold that holds no domain out
    trainings: one row per trainee and seed: name, kind, domains, seed, corrupted, TRAINING_FACTS (NaN: no meta.json)
    audit: one row per audited (point, target, seed, layer): AUDIT_COLUMNS, see sap.stages.audit.run
    files: (stage, name) -> the NAME.csv of all its jobs, one below the other; an empty frame where there is none
    failures: one row per row that could not be computed: FAILURE_COLUMNS, `folder` its job's (NaN: no such thing)
    """

    plan: ReportPlan
    root: Path
    points: pd.DataFrame
    judged: pd.DataFrame
    trainings: pd.DataFrame
    audit: pd.DataFrame
    files: Mapping[tuple[str, str], pd.DataFrame]
    failures: pd.DataFrame

    @property
    def targets(self) -> list[str]:
        return list(self.plan.targets)

    @property
    def domains(self) -> list[str]:
        return list(self.plan.domains)

    @property
    def seeds(self) -> list[int]:
        return list(self.plan.seeds)

    @cached_property
    def beds(self) -> "list[Results]":
        """The other experiments that stand beside this one and have run, in the config's order, and this one last."""
        plans = [locate(self.root, path) for path in self.plan.beds.values() if path]
        return [*(collect(read_plan(path, ReportPlan), self.root) for path in plans if path), self]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Of `judged`, the rows of plain test images."""
        return self.judged[self.judged["images"] == TEST]

    @cached_property
    def folds(self) -> dict[tuple[str, int], tuple[str, ...]]:
        """(target, seed) -> the clients that merge in this fold, for the folds that hold a target out."""
        folds = (fold for fold in self.plan.folds if fold.target in self.targets)
        return {(fold.target, fold.seed): fold.clients for fold in folds}

    @cached_property
    def client_domains(self) -> dict[str, tuple[str, ...]]:
        """client -> the domains it trained on, in the plan's order of clients.

        Only the trainees have that order: points and folds begin with the clients of the first fold.
        """
        clients = self.trainings[self.trainings["kind"] == "client"]
        return dict(zip(clients["name"], clients["domains"], strict=True))

    @cached_property
    def outcomes(self) -> Outcomes:
        """The predictions behind the rows, image by image."""
        return Outcomes(self.judged, self.points, self.seeds, self.targets)

    @cached_property
    def accuracy(self) -> pd.Series:
        """Accuracy indexed by (point, target, seed, domain)."""
        return self.rows.set_index(["point", "target", "seed", "domain"])["accuracy"].sort_index()

    @cached_property
    def norms(self) -> pd.Series:
        """Norm of the update behind each held-out row, indexed by (point, target, seed)."""
        held_out = self.rows[self.rows["domain"] == self.rows["target"]]
        return held_out.set_index(["point", "target", "seed"])["norm"].sort_index()

    @cached_property
    def test_images(self) -> dict[str, int]:
        """domain -> number of its test images, for the domains with at least one row."""
        return {domain: int(n) for domain, n in self.rows.groupby("domain")["n"].max().items()}

    def of_kind(self, kind: str) -> list[str]:
        """Ids of the clean points of one kind, in plan order."""
        return list(self.points.index[(self.points["kind"] == kind) & (self.points["attack"] == "")])

    def references(self, group: str) -> list[str]:
        """Ids of the clean floors or ceilings, in plan order."""
        return list(self.points.index[(self.points["group"] == group) & (self.points["attack"] == "")])

    def planned(self, stage: str) -> list[dict[str, Any]]:
        """The jobs of a stage, done or not: the wildcards of each, and its folder."""
        return self.plan.jobs.get(stage, [])

    def jobs(self, stage: str) -> list[tuple[dict[str, Any], Path]]:
        """(job, its folder) of a stage, for the jobs that are done and did not fail as a whole."""
        failed = set(self.failures.loc[self.failures["point"].isna(), "folder"])
        entries = [job for job in self.planned(stage) if job["folder"] not in failed]
        found = [(entry, locate(self.root, f"{entry['folder']}/meta.json")) for entry in entries]
        return [(entry, path.parent) for entry, path in found if path]

    def costs(self, stage: str) -> pd.DataFrame:
        """`seconds` and `peak_memory_bytes` of each job of a stage; NaN where it is not done."""
        return readers.costs(self.planned(stage), _finder(self.root))

    def in_view(self, view: str) -> list[str]:
        """Ids of the merges that belong to a view, in plan order."""
        return [point for point in self.served_in(view) if self.points.loc[point, "kind"] == "merge"]

    def served_in(self, view: str) -> list[str]:
        """Ids of the points of a view, merges and what else is served, without floors and ceilings, in plan order."""
        inside = self.points["views"].map(lambda views: view in views) & (self.points["group"] == "")
        return list(self.points.index[inside])


def load_results(plan_path: str | Path) -> Results:
    """Load a plan file and everything it names that is there.

    Paths are taken from the working directory, else from the folder that holds `results/` (so that a
    downloaded results folder works anywhere). A file that is absent leaves its cells missing; one that
    cannot be read is a SapError.
    """
    plan_path = Path(plan_path)
    plan = read_plan(plan_path, ReportPlan)
    return collect(plan, plan_path.resolve().parents[2] if len(plan_path.resolve().parents) > 2 else Path())


def collect(plan: ReportPlan, root: Path, live: bool = False) -> Results:
    """Everything that a plan (`sap.plan.reporting.report_plan`) names and that is there; see `load_results`.

    With `live` the rows that running or killed evaluations have saved so far count, too, and damaged ones are left out.
    """
    found = _finder(root)
    return Results(
        plan=plan,
        root=root,
        points=readers.points(plan.points),
        judged=readers.rows(plan, found, live),
        trainings=readers.trainings(plan.trainees, found),
        audit=readers.audit(plan, found),
        files=readers.Files(plan, found),
        failures=readers.failures(plan, found, live),
    )


def locate(root: Path, path: str | Path) -> Path | None:
    """Where a planned path lies: below the working directory or below `root`; None where it is absent."""
    return next((place for place in (Path(path), root / path) if place.exists()), None)


def _finder(root: Path) -> Callable[[str], Path | None]:
    return lambda path: locate(root, path)
