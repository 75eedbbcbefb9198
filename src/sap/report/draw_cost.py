"""Figure `cost`: seconds, peak memory and upload of the stages with their numbers."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.cost import EMPTY, cost_frame, is_measured
from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.style import FAINT, INK, MUTED, TWO_COLUMNS, blank, panels

PANELS = (
    ("seconds", "seconds per job (log scale)", 1.0, "{:.2g}"),
    ("peak_memory_bytes", "peak memory, GB", 1e-9, "{:.2f}"),
    ("upload_bytes", "upload of one client, MB", 1e-6, "{:.3g}"),
)


@figure("cost", "What the stages cost", "6 Needs and costs")
def draw_cost(results: Results) -> Figure:
    """Seconds and peak memory of one job, and the bytes that one client uploads, by stage. A sweep's time is the
    seconds times the number of jobs, which the table has.
    """
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
