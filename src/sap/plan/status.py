"""Where an experiment stands, read from the files that its jobs have left and from the heartbeats of those that run.

Nothing here asks Snakemake: a job counts as done when its outputs are there, whatever code wrote them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sap.evaluate.rows import Name, name_of
from sap.io import read_jsonl, sealed_rows
from sap.plan.stage import RESULTS, Job
from sap.progress import Heartbeat, read_heartbeat

STATES = ("not started", "running", "incomplete", "done")
SHOWING = ("tables", "figures", "complete")  # the table of the headroom is made before the sweep


@dataclass(frozen=True)
class Seen:
    """What is seen of one job: its state, its heartbeat where it runs, and how many of its rows and points there are.

    Only evaluations have rows; `points` are those with all their rows, `rows` counts those of a running job, too.
    """

    job: Job
    state: str
    beat: Heartbeat | None = None
    rows: int = 0
    points: int = 0

    @property
    def left(self) -> float:
        """Share of the job's work that is still to do, as far as it can be seen."""
        if self.state == "done":
            return 0.0
        if self.job.rows:
            return 1 - self.rows / sum(self.job.rows.values())
        if self.beat and self.beat.total and self.beat.done is not None:
            return 1 - self.beat.done / self.beat.total
        return 1.0


def look(jobs: Iterable[Job]) -> list[Seen]:
    """What is seen of the jobs; tables, figures and `complete` are as good as missing if older than what they show."""
    seen, newest = [], 0.0
    for job in jobs:
        found = _look(job)
        if job.stage.reported:
            newest = max([newest, *_times(job.marks)])
        elif found.state == "done" and job.stage.name in SHOWING and min(_times(job.outputs)) < newest:
            found = Seen(job, "incomplete")
        seen.append(found)
    return seen


def _times(paths: Iterable[str]) -> list[float]:
    return [path.stat().st_mtime for path in map(Path, paths) if path.exists()]


def _look(job: Job) -> Seen:
    folder = Path(job.folder)
    beat = read_heartbeat(folder)
    there = [Path(path).exists() for path in job.outputs]
    side = Path(f"{folder}.progress")
    found: dict[str, set[Name]] = {}
    for path in (folder / "rows.jsonl", side / "rows.jsonl") if job.rows else ():
        for row in sealed_rows(path)[0]:
            if row["point"] in job.rows:
                found.setdefault(row["point"], set()).add(name_of(row))
    rows = sum(map(len, found.values()))
    points = sum(len(names) >= job.rows[point] for point, names in found.items())
    if beat and beat.alive:
        if job.rows and beat.total is not None:
            total = sum(job.rows.values())
            rows = total - beat.total + (beat.done or 0)
            points = rows * len(job.rows) // total
        return Seen(job, "running", beat, rows, points)
    leftovers = beat or side.exists() or Path(f"{folder}.resume").exists()
    if all(there) and points == len(job.rows) and not leftovers:
        return Seen(job, "done", None, rows, points)
    return Seen(job, "incomplete" if leftovers or any(there) else "not started", None, rows, points)


def stage_table(seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """One row per stage in the order of the pipeline: how many jobs are in each state."""
    stages = dict.fromkeys(entry.job.stage.name for entry in seen)
    return [
        {"stage": stage} | {state: sum((s.job.stage.name, s.state) == (stage, state) for s in seen) for state in STATES}
        for stage in stages
    ]


def training_lines(seen: Sequence[Seen], epochs: int, batch_size: int) -> list[str]:
    """One line per running training: epoch, step, images per second, loss of the last epoch, time left."""
    lines = []
    for entry in seen:
        beat = entry.beat
        if entry.job.stage.name != "train_client" or beat is None:
            continue
        if not beat.total or beat.done is None:
            lines.append(f"{entry.job.title}: starting")
            continue
        epoch = min(epochs, beat.done * epochs // beat.total + 1)
        parts = [f"epoch {epoch} of {epochs}", f"step {beat.done:,} of {beat.total:,}"]
        parts += [f"{beat.rate * batch_size:,.0f} images/s"] if beat.rate else []
        history = Path(entry.job.folder) / "train.jsonl"
        parts += [f"loss {read_jsonl(history)[-1]['loss']:.3f}"] if history.exists() else []
        parts += [f"{span(beat.seconds_left)} left"] if beat.seconds_left is not None else []
        lines.append(f"{entry.job.title}: {', '.join(parts)}")
    return lines


def sweep_line(seen: Sequence[Seen]) -> str:
    """Points done of all, over all targets, seeds and shards; their speed and the time left while some are judged."""
    shards = [entry for entry in seen if entry.job.stage.name == "evaluate"]
    total, done = sum(len(entry.job.rows) for entry in shards), sum(entry.points for entry in shards)
    line = f"{done:,} of {total:,} points (each target and seed counts)"
    rate = sum(
        entry.beat.rate * len(entry.job.rows) / sum(entry.job.rows.values())
        for entry in shards
        if entry.beat and entry.beat.rate
    )
    return line + (f", {rate:.3g} points/s, {span((total - done) / rate)} left at this speed" if rate else "")


def time_left(seen: Sequence[Seen]) -> list[str]:
    """Sentences on how long the rest will take, by what the jobs took that Snakemake has benchmarked, and by which."""
    open_jobs = [entry for entry in seen if entry.state != "done"]
    if not open_jobs:
        return ["Everything is there."]
    seconds, based, unknown = 0.0, [], []
    for stage in dict.fromkeys(entry.job.stage.name for entry in open_jobs):
        rest = [entry for entry in open_jobs if entry.job.stage.name == stage]
        own = [Path(entry.job.benchmark) for entry in seen if entry.job.stage.name == stage]
        measured = _seconds(own)
        others = not measured
        if others:
            measured = _seconds(Path(RESULTS).glob(f"benchmarks/{stage}/**/*.tsv"))
        if not measured and any(entry.beat is None or entry.beat.seconds_left is None for entry in rest):
            unknown.append(f"{stage} ({len(rest)})")
            continue
        mean = sum(measured) / len(measured) if measured else 0.0
        for entry in rest:
            told = entry.beat.seconds_left if entry.beat else None
            seconds += mean * entry.left if told is None else told
        if measured:
            of = " of other settings" if others else ""
            based.append(f"{stage} {span(mean)} (mean of {len(measured)}{of})")
    running = sum(entry.state == "running" for entry in seen)
    at_a_time = f"{running} at a time, as now" if running else "one at a time; nothing runs"
    lines = []
    if seconds:
        more = "at least " if unknown else "about "
        lines.append(f"{more}{span(seconds / max(1, running))} left ({at_a_time})")
        lines += [f"from finished jobs: {', '.join(based)}"] if based else []
    if unknown:
        lines.append(f"unknown, because no such job has finished here: {', '.join(unknown)}")
    return lines


def _seconds(paths: Iterable[Path]) -> list[float]:
    """Column `s` of the benchmarks that are there."""
    found = []
    for path in paths:
        try:
            header, *lines = path.read_text(encoding="utf-8").splitlines()
            found += [float(line.split("\t")[header.split("\t").index("s")]) for line in lines]
        except (OSError, ValueError, IndexError):
            continue
    return found


def span(seconds: float) -> str:
    """`48 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
