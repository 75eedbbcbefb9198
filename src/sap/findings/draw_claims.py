"""Figure `claims`: every part of every claim as an effect with its interval, coloured by the verdict."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.findings.claims import EMPTY, claims_frame
from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.style import COLOURS, INK, MUTED, TWO_COLUMNS, blank, panels
from sap.report.table import is_missing
from sap.stats.verdict import NOT_TESTABLE, REFUTED, SUPPORTED, UNDERPOWERED

VERDICT_COLOURS = {
    SUPPORTED: COLOURS["none"],
    REFUTED: COLOURS["taylor_absolute"],
    UNDERPOWERED: INK,
    NOT_TESTABLE: MUTED,
}
SHADE = "#f2f2f2"


@figure("claims", "Claims: effects, intervals and verdicts", "1 Claims")
def draw_claims(results: Results) -> Figure:
    """Every part of every claim as an effect in percentage points with its 95 % interval; the marker points where the
    claim says that the effect lies, a circle claims that there is none. A claim is refuted where an interval excludes
    every effect of interest (the grey band and what lies on its other side); the axis is linear up to twice the band
    and logarithmic beyond."""
    frame = claims_frame(results)
    if frame.empty:
        return blank(EMPTY)
    figure, axes = panels(1, 1, (TWO_COLUMNS, 0.7 + 0.24 * len(frame)))
    axis = axes[0, 0]
    margin = 100 * results.plan.margin
    axis.axvspan(-margin, margin, color=SHADE, zorder=0, linewidth=0)
    axis.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    for place, (_, row) in enumerate(frame.iterrows()):
        _effect(axis, place, row)
        if _opens(frame, place):
            _verdict(axis, place, row["verdict"])
    axis.set_xscale("symlog", linthresh=2 * margin, linscale=1)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    ticks = [tick for tick in (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50) if _inside(axis, tick)]
    axis.set_xticks(ticks)
    axis.minorticks_off()
    axis.set_yticks(range(len(frame)), [_name(frame, place) for place in range(len(frame))])
    axis.set_ylim(len(frame) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(False, axis="y")
    axis.set_xlabel("effect in percentage points, with 95 % interval   (grey: below the smallest effect of interest)")
    return figure


def _effect(axis: Axes, place: int, row: pd.Series) -> None:
    colour = VERDICT_COLOURS[row["verdict"]]
    if is_missing(row["effect"]):
        where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        text = textwrap.shorten(row["why"] or row["verdict"], 76, placeholder=" …")
        axis.annotate(text, (0.01, place), (0, 0), va="center", fontsize=6, color=MUTED, style="italic", **where)
    else:
        effect, low, high = (100 * row[name] for name in ("effect", "effect_low", "effect_high"))
        axis.plot([low, high], [place, place], color=colour, linewidth=1.4)
        claimed = {"greater": ">", "less": "<", "within": "o"}[row["kind"]]
        axis.plot(effect, place, claimed, color=colour, markersize=4.2, zorder=3)


def _verdict(axis: Axes, place: int, verdict: str) -> None:
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "annotation_clip": False}
    axis.annotate(verdict, (1, place), (4, 0), va="center", fontsize=6.5, color=VERDICT_COLOURS[verdict], **where)


def _opens(frame: pd.DataFrame, place: int) -> bool:
    """True for the first part of a claim."""
    return place == 0 or frame.iloc[place - 1]["claim"] != frame.iloc[place]["claim"]


def _name(frame: pd.DataFrame, place: int) -> str:
    """`C4  SAP − mean`; the number stands at a claim's first part only."""
    row = frame.iloc[place]
    part = row["part"] if not is_missing(row["part"]) else textwrap.shorten(row["says"], 46, placeholder=" …")
    return f"{part}   {row['claim']}" if _opens(frame, place) else f"{part}   {' ' * (2 * len(row['claim']))}"


def _inside(axis: Axes, value: float) -> bool:
    low, high = np.array(axis.get_xlim())
    return bool(low <= value <= high)
