"""What the stages cost: jobs, seconds, memory, bytes."""

import pandas as pd

from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import MISSING, Cell, Column, Table, is_missing, number, text

EMPTY = "This experiment holds no trainings and no evaluations."
NOTES = (
    "Seconds and peak memory of one job (peak: the largest job), on the device named. Memory is the process's "
    "resident set on a CPU, the allocator's peak on a GPU. Upload: what one client sends, once.",
    "Evaluation: seconds of one point on one domain, inside a process that serves many points.",
)
TRAINEES = {"client": "client training", "pooled": "pooled-source training", "oracle": "oracle training"}
EVALUATED = {
    "merge": "evaluation, merged",
    "ensemble": "evaluation, ensemble",
    "ensemble_logits": "evaluation, ensemble",
}
COLUMNS = [
    "stage", "jobs", "seconds", "seconds_sd", "seconds_total", "peak_memory_bytes", "upload_bytes", "samples", "device",
]  # fmt: skip


def cost_frame(results: Results) -> pd.DataFrame:
    """One row per stage (COLUMNS); seconds and samples are means per job, peak memory the maximum over jobs."""
    records = []
    for kind, stage in TRAINEES.items():
        jobs = results.trainings[results.trainings["kind"] == kind]
        if len(jobs):
            upload = jobs["upload_bytes"].mean(skipna=False) if kind == "client" else None
            samples = jobs["sample_count"].mean(skipna=False)
            records.append(_stage(stage, jobs) | {"upload_bytes": upload, "samples": samples, "device": _device(jobs)})
    if len(results.saliency):
        records.append(_stage("saliency of one client", results.saliency))
    if len(results.measured):
        records.append(_stage("statistics of one client", results.measured))
    for stage, rows in results.rows.groupby(results.rows["kind"].map(EVALUATED).fillna("evaluation, one model")):
        records.append(_stage(stage, rows))
    return pd.DataFrame(records, columns=COLUMNS)


@table("cost", "What the stages cost", "6 Needs and costs", reads=())
def cost_table(results: Results) -> Table:
    """What the stages cost: number of jobs, seconds of one job (mean ± standard deviation), total minutes, largest peak
    memory, bytes that one client uploads, training images. Total minutes are of the jobs' own time, before any are run
    side by side.
    """
    columns = [
        Column("stage", text("stage")),
        Column("jobs", number("jobs")),
        Column("seconds per job", _seconds),
        Column("total, min", number("seconds_total", "{:,.1f}", 1 / 60)),
        Column("peak memory, GB", _where_measured("peak_memory_bytes", number("peak_memory_bytes", "{:.2f}", 1e-9))),
        Column("upload, MB", _where_measured("upload_bytes", number("upload_bytes", "{:.3g}", 1e-6))),
        Column("samples", _where_measured("samples", number("samples"))),
        Column("device", text("device")),
    ]
    return Table(cost_frame(results), columns, EMPTY, notes=NOTES)


def is_measured(stage: str, column: str) -> bool:
    """True where a stage has this cost at all: only then an absent value is a missing one."""
    if column == "upload_bytes":
        return stage == TRAINEES["client"]
    if column == "samples":
        return stage in TRAINEES.values()
    return column == "seconds" or not stage.startswith("evaluation")


def _where_measured(column: str, cell: Cell) -> Cell:
    return lambda row: cell(row) if is_measured(row["stage"], column) else "–"


def _stage(stage: str, jobs: pd.DataFrame) -> dict[str, object]:
    seconds = jobs["seconds"]
    memory = jobs["peak_memory_bytes"].max(skipna=False) if "peak_memory_bytes" in jobs else None
    return {
        "stage": stage,
        "jobs": len(jobs),
        "seconds": seconds.mean(skipna=False),
        "seconds_sd": seconds.std(ddof=1, skipna=False),
        "seconds_total": seconds.sum(skipna=False),
        "peak_memory_bytes": memory,
    }


def _device(jobs: pd.DataFrame) -> str:
    return ", ".join(sorted({str(name) for name in jobs["device"].dropna()}))


def _seconds(row: pd.Series) -> str:
    if is_missing(row["seconds"]):
        return MISSING
    form = "{:,.0f}" if row["seconds"] >= 100 else "{:.2g}"
    spread = "" if is_missing(row["seconds_sd"]) else f" ± {form.format(row['seconds_sd'])}"
    return form.format(row["seconds"]) + spread
