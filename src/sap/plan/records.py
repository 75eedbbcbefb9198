"""What real runs leave behind: which files each experiment uses, and a word on libraries that have changed since."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sap.errors import SapError
from sap.io import read_json, write_json
from sap.plan.stage import RESULTS, Job
from sap.plan.study import Study
from sap.provenance import versions

FOLDER = Path(RESULTS) / "experiments"


def record(study: Study, plans: Iterable[str]) -> None:
    """Write results/experiments/<name>.json: the experiment's settings and every path under results/ that it uses.

    `plans` are the plan files that its jobs name.
    """
    on_demand = [path for stage in study.stages.values() for path in stage.uses(study)]
    uses = [path for job in study.jobs for path in (job.folder, job.benchmark)] + [*plans] + on_demand
    write_json(FOLDER / f"{study.name}.json", {"settings": study.settings, "uses": sorted(set(uses))})


def experiments() -> dict[str, Any]:
    """The recorded experiments by name."""
    return {path.stem: read_json(path) for path in sorted(FOLDER.glob("*.json"))}


def report_of(name: str) -> str:
    """The plan of an experiment's tables and figures, as its last real run wrote it down; empty where none did."""
    path = FOLDER / f"{name}.json"
    used = read_json(path)["uses"] if path.exists() else []
    return next((plan for plan in used if plan.startswith(f"{RESULTS}/plans/{report_slug(name)}-")), "")


def report_slug(name: str) -> str:
    """How the file of that plan begins."""
    return f"report-{name}"


def forget(name: str) -> None:
    """Remove an experiment's record; its files then count as unused. SapError for an unknown name."""
    known = experiments()
    if name not in known:
        raise SapError(f"there is no experiment '{name}'; recorded are: {', '.join(known) or 'none'}.")
    (FOLDER / f"{name}.json").unlink()


def version_warnings(jobs: Sequence[Job], ignored: Sequence[str] = ()) -> list[str]:
    """One sentence per package whose installed version is not the one that made artifacts which the jobs would reuse.

    Packages in `ignored` (versions.invalidate) run their stages again, so nothing of theirs is reused.
    """
    installed = versions()
    made: Counter[tuple[str, str, str]] = Counter()
    for job in jobs:
        path = Path(job.folder) / "meta.json"
        if path.exists():
            for package, version in _versions(path).items():
                if package not in ignored and version != installed.get(package, version):
                    made[package, version, job.stage.name] += 1
    return [
        f"{package} is {installed[package]} here, and {_listed(made, package)}. If that may change numbers, "
        f"add {package} to versions.invalidate in the config: then everything runs again."
        for package in dict.fromkeys(name for name, _, _ in made)
    ]


def _listed(made: Mapping[tuple[str, str, str], int], package: str) -> str:
    parts = []
    for version in dict.fromkeys(one for name, one, _ in made if name == package):
        stages = [
            f"{count} of {stage}" for (name, one, stage), count in made.items() if (name, one) == (package, version)
        ]
        parts.append(f"{', '.join(stages)} were made with {version}")
    return f"of the artifacts that this experiment has {' and '.join(parts)}"


def _versions(path: Path) -> Mapping[str, str]:
    try:
        return read_json(path).get("versions", {})
    except (SapError, AttributeError):
        return {}  # damaged: its readers will say so
