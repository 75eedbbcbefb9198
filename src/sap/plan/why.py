"""Why jobs would run, in words: Snakemake's reasons, and what it cannot know about ids, code and rows."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sap.errors import SapError
from sap.evaluate.rows import name_of, row_keys
from sap.failures import FAILED
from sap.io import sealed_rows
from sap.plan.code import changed_parts, is_recorded
from sap.plan.differences import nearest, read_index, shortened
from sap.plan.folds import shard_plan
from sap.plan.study import Study

# How Snakemake begins the parts of a reason.
_PARTS = (
    "Missing output files",
    "Incomplete output files",
    "Updated input files",
    "Input files updated by another job",
    "Set of input files has changed",
    "Code has changed",
    "Params have changed",
    "Software environment",
    "Forced execution",
)
_ABSENT = "its files are not there yet"
_STAMPS = {  # fields of plans that stand for files outside of results/
    "listing": "images of its folder came, went or were renamed",
    "stamp": "a file that it reads was changed",
}
_EDITED = "was edited"  # what --touch can take as done


@dataclass(frozen=True)
class Planned:
    """One job of a dry run, as Snakemake announces it."""

    rule: str
    wildcards: dict[str, str]
    output: tuple[str, ...]
    reason: str


def explain(study: Study, planned: Sequence[Planned]) -> list[str]:
    """Lines for people: rule by rule, which jobs would run and why, equal reasons counted."""
    rules = dict.fromkeys(job.rule for job in planned)
    made_by = {_bare(path): job.rule for job in planned for path in job.output}
    index = read_index()
    lines = []
    for rule in rules:
        jobs = [job for job in planned if job.rule == rule]
        reasons = Counter(text for job in jobs for text in dict.fromkeys(_reasons(study, job, made_by, index)))
        lines.append(f"{rule}: {_count(len(jobs), 'job')}")
        lines += [f"  {'' if count == len(jobs) else f'{count} of them: '}{text}" for text, count in reasons.items()]
    if any(_EDITED in line for line in lines):
        lines.append("")
        lines.append("If what was edited changes no number, `snakemake --touch` (same options) takes it as done.")
    return lines


def _bare(path: str) -> str:
    """A path without the flags that Snakemake prints behind it, such as ` (update)`."""
    return path.split(" (")[0]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _reasons(study: Study, job: Planned, made_by: dict[str, str], index: dict[tuple[str, str], Any]) -> list[str]:
    found = []
    missing = upstream = False
    for part in re.split(rf"; (?={'|'.join(_PARTS)})", job.reason):
        start = next((start for start in _PARTS if part.startswith(start)), "")
        detail = part.removeprefix(start).removeprefix(": ")
        if start == "Missing output files" and {Path(_bare(path)).name for path in detail.split(", ")} == {FAILED}:
            found.append("rows of it failed the last time")
        elif start == "Missing output files":
            missing = True
            found.append(_missing(study, job, index))
        elif start == "Incomplete output files":
            found.append("its last run was killed or failed; what it saved on the way is used")
        elif start == "Updated input files":
            found.append(f"an input is newer than what was made from it: {shortened(detail.split(', '))}")
        elif start == "Input files updated by another job":
            upstream = True
            makers = sorted({made_by.get(_bare(path), _bare(path)) for path in detail.split(", ")})
            if not missing or found[-1].startswith(_ABSENT):  # else new settings say it all
                found.append(f"it reads what other jobs make: {', '.join(makers)}")
        elif start == "Set of input files has changed":
            found.append("it reads other files than the last time")
        elif start == "Code has changed":
            found.append(f"its rule's command {_EDITED}")
        elif start == "Params have changed":
            found += _params(detail, upstream)
        elif start == "Software environment":
            found.append(f"its software environment {_EDITED}")
        elif start == "Forced execution":
            found.append("it is forced on the command line")
        else:
            found.append(part)
    if job.rule == "evaluate":
        found.append(_rows(study, job, upstream))
    return found


def _missing(study: Study, job: Planned, index: dict[tuple[str, str], Any]) -> str:
    """Its files are not there: because its settings are new, or simply not made yet."""
    stage = study.stages.get(job.rule)
    if stage is None or not stage.named:
        return _ABSENT
    root, name = Path(stage.root), "/".join(Path(job.output[0]).parts[2 : 2 + stage.named])
    own = name.partition("/")[0]  # without the trainee
    if (root / name).exists() or (stage.name, name) not in index:
        return f"{_ABSENT} ({own})"
    close = nearest(index, stage.name, name, lambda other: (root / other).exists())
    if close is None:
        return f"{_ABSENT} ({own}), nor any of other settings"
    other, listed = close[0].partition("/")[0], close[1]
    if listed:
        return f"new settings beside {other}: {shortened(listed)}"
    return f"the settings of {other}, on top of something that is new (see the rules above)"


def _params(detail: str, upstream: bool) -> list[str]:
    """Snakemake's set of values before and now: fingerprints of code, plans, or plain settings."""
    before, _, now = detail.partition(" now: ")
    old, new = (_fingerprints(text) for text in (before, now))
    found = []
    for one in old:
        for other in new:
            changed = changed_parts(one, other)
            if changed:
                found.append(f"its code {_EDITED}: {', '.join(changed)}")
    if not found and old:
        found.append(f"its code {_EDITED}; which modules is not recorded")
    plans = [re.findall(r"results/plans/[\w.-]+\.json", text) for text in (before, now)]
    found += [text for one in plans[0][:1] for other in plans[1][:1] for text in _plans(one, other, upstream)]
    return found or ([] if upstream else [f"its command has changed: {detail[:200]}"])


def _fingerprints(text: str) -> list[str]:
    return [word for word in re.findall(r"(?<![\w.-])[0-9a-f]{10}(?![\w.-])", text) if is_recorded(word)]


def _plans(old: str, new: str, upstream: bool) -> list[str]:
    """What differs between two plan files: points that came, went, were renamed, or whose code was edited."""
    try:
        before, after = (json.loads(Path(path).read_text(encoding="utf-8")) for path in (old, new))
    except (OSError, ValueError):
        return ["its plan has changed"]
    was, now = ({point["id"]: point for point in plan.get("points", ())} for plan in (before, after))
    came = [point.get("label", name) for name, point in now.items() if name not in was]
    gone = [point.get("label", name) for name, point in was.items() if name not in now]
    # A point that reads something new has a new id, too, and the same label.
    came, gone = ([label for label in one if label not in other] for one, other in ((came, gone), (gone, came)))
    found = [f"{_count(len(came), 'new point')}: {shortened(came)}"] if came else []
    found += [f"{_count(len(gone), 'point')} less: {shortened(gone)}"] if gone else []
    codes = {(was[name]["code"], point["code"]) for name, point in now.items() if "code" in point and name in was}
    edited = sorted({part for pair in codes if pair[0] != pair[1] for part in changed_parts(*pair) or ["(unrecorded)"]})
    found += [f"code of its points {_EDITED}: {', '.join(edited)}"] if edited else []
    if found or upstream:
        return found
    other = [key for key in after if before.get(key) != after[key]]
    return [_STAMPS[key] for key in other if key in _STAMPS] or [f"its plan has other {', '.join(other)}"]


def _rows(study: Study, job: Planned, upstream: bool) -> str:
    """How many rows a shard would judge, of which points, and how many stay."""
    target, seed, shard = job.wildcards["target"], int(job.wildcards["seed"]), int(job.wildcards["shard"])
    labels = {point.id: point.label for point in study.shard_points(target, shard, study.seeds_asked(seed))}
    try:
        keys = row_keys(shard_plan(study, target, seed, shard))
    except SapError:
        return "all its rows wait for uploads that are not there yet"
    folder = study.folder("evaluate", target=target, seed=seed, shard=shard)
    kept = {
        name_of(row)
        for path in (f"{folder}/rows.jsonl", f"{folder}.progress/rows.jsonl")
        for row in sealed_rows(path)[0]
        if keys.get(name_of(row)) == row["key"]
    }
    missing = dict.fromkeys(labels[name[0]] for name in keys if name not in kept)
    if not missing:
        judged = "no row is missing"
    else:
        rows, points = _count(len(keys) - len(kept), "row"), _count(len(missing), "point")
        judged = f"{rows} of {points} to judge, {len(kept)} kept: {shortened(list(missing))}"
    return judged + (" (by today's inputs; rows whose inputs come out different follow)" if upstream else "")
