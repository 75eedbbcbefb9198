"""What the stages cost: jobs, seconds, memory, bytes."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.exhibit import figure, table
from sap.report.frame import Results
from sap.report.style import FAINT, INK, MUTED, TWO_COLUMNS, blank, panels
from sap.report.table import MISSING, Cell, Column, Table, is_missing, number, text

EMPTY = "This experiment holds no trainings and no evaluations."
NOTES = (
    "Seconds and peak memory of one job (peak: the largest job), on the device named. Memory is the process's "
    "resident set on a CPU, the allocator's peak on a GPU. Upload: what one client sends, once.",
    "Evaluation: seconds of one point on one domain, inside a process that serves many points.",
)
TRAINEES = {
    "client": "client training",
    "pooled": "pooled-source training",
    "oracle": "oracle training",
    "recipe": "client training, by recipes",
}
PER_CLIENT = {"score_client": "saliency of one client", "measure": "statistics of one client"}
EVALUATED = {"merge": "evaluation, merged"}
COLUMNS = [
    "stage", "jobs", "seconds", "seconds_sd", "seconds_total", "peak_memory_bytes", "upload_bytes", "samples", "device",
]  # fmt: skip
PANELS = (
    ("seconds", "seconds per job (log scale)", 1.0, "{:.2g}"),
    ("peak_memory_bytes", "peak memory, GB", 1e-9, "{:.2f}"),
    ("upload_bytes", "upload of one client, MB", 1e-6, "{:.3g}"),
)


def cost_frame(results: Results) -> pd.DataFrame:
    """One row per stage (COLUMNS); seconds and samples are means per job, peak memory the maximum over jobs."""
    records = []
    for kind, stage in TRAINEES.items():
        jobs = results.trainings[results.trainings["kind"] == kind]
        if len(jobs):
            upload = jobs["upload_bytes"].mean(skipna=False) if kind in ("client", "recipe") else None
            samples = jobs["sample_count"].mean(skipna=False)
            records.append(_stage(stage, jobs) | {"upload_bytes": upload, "samples": samples, "device": _device(jobs)})
    for stage, name in PER_CLIENT.items():
        jobs = results.costs(stage)
        if len(jobs):
            records.append(_stage(name, jobs))
    several = results.rows["passes"].gt(1).map({True: "evaluation, several models", False: "evaluation, one model"})
    for stage, rows in results.rows.groupby(results.rows["kind"].map(EVALUATED).fillna(several)):
        records.append(_stage(stage, rows))
    return pd.DataFrame(records, columns=COLUMNS)


@table("cost", "What the stages cost", "6 Needs and costs", reads=())
def cost_table(results: Results) -> Table:
    """What the stages cost: number of jobs, seconds of one job (mean ± standard deviation), total minutes, largest peak
    memory, bytes that one client uploads, training images. Total minutes are of the jobs' own time, before any are run
    side by side."""
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
        return stage in (TRAINEES["client"], TRAINEES["recipe"])
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


@figure("cost", "What the stages cost", "6 Needs and costs")
def draw_cost(results: Results) -> Figure:
    """Seconds and peak memory of one job, and the bytes that one client uploads, by stage. A sweep's time is the
    seconds times the number of jobs, which the table has."""
    frame = cost_frame(results)
    if frame.empty:
        return blank(EMPTY)
    figure, axes = panels(1, len(PANELS), (TWO_COLUMNS, 0.65 + 0.2 * len(frame)), sharey=True, width_ratios=(1.2, 1, 1))
    for panel, (column, label, factor, form) in zip(axes[0], PANELS, strict=True):
        values = factor * frame[column].to_numpy(dtype=float)
        (_dots if column == "seconds" else _bars)(panel, values)
        _numbers(panel, values, frame["stage"], column, form)
        panel.set_xlabel(label)
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
    axes[0, 0].set_yticks(range(len(frame)), frame["stage"])
    axes[0, 0].set_ylim(len(frame) - 0.4, -0.6)
    return figure


def _dots(axes: Axes, values: np.ndarray) -> None:
    """Values over several orders of magnitude. Dots, because a bar's length means nothing where there is no zero."""
    axes.set_xscale("log")
    axes.plot(values, np.arange(len(values)), "o", color=MUTED)
    positive = values[values > 0]
    if positive.size:
        low, high = 10 ** np.floor(np.log10(positive.min())), positive.max()
        axes.set_xlim(low, max(10 * low, high * (high / low) ** 0.25))  # a quarter more for the last number
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(True, axis="y", color=FAINT, linewidth=0.4)


def _bars(axes: Axes, values: np.ndarray) -> None:
    axes.barh(np.arange(len(values)), np.nan_to_num(values), height=0.62, color=MUTED)
    axes.grid(False, axis="y")
    axes.margins(x=0.22)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=4)


def _numbers(axes: Axes, values: np.ndarray, stages: pd.Series, column: str, form: str) -> None:
    """Each value at the right of its mark; one that is absent or zero at the left edge."""
    for place, (value, stage) in enumerate(zip(values, stages, strict=True)):
        absent = "missing" if is_measured(stage, column) else "–"
        printed = absent if np.isnan(value) else f"{value:,.0f}" if value >= 100 else form.format(value)
        at, coords = (value, "data") if value > 0 else (0, ("axes fraction", "data"))
        where = {"xycoords": coords, "textcoords": "offset points", "annotation_clip": False, "va": "center"}
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # no grid line through a number
        axes.annotate(printed, (at, place), (4, 0), fontsize=6.5, color=INK, bbox=paper, **where)
