"""Figure `main`: a dot per method and held-out domain, zero-shot as a line through all panels."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.findings.main import CEILINGS, EMPTY, FLOORS, main_frame
from sap.report.exhibit import figure
from sap.report.failures import MARK
from sap.report.frame import Results
from sap.report.style import FAINT, HATCH, INK, MUTED, TWO_COLUMNS, blank, colour_of, panels, short
from sap.report.table import MISSING


@figure("main", "Accuracy on held-out domains, all methods", "2 Accuracy")
def draw_main(results: Results) -> Figure:
    """Accuracy on each held-out domain and on average, a dot per method with ± one standard deviation over seeds, in
    the colour of its pruning criterion; open dots are ceilings or choices that need the target's labels. The shade ends
    at zero-shot (dashed), so whatever lies in it is worse than no update at all, and what lies near the dotted line is
    as good as the in-domain oracle."""
    frame = main_frame(results)
    if frame.empty:
        return blank(EMPTY)
    columns = [
        (f"accuracy__{target}", f"sd__{target}", short(target, 16 if len(results.targets) < 6 else 12))
        for target in results.targets
    ] + [("mean", "sd", "average")]
    places = _places(frame)
    label_width = 0.055 * max(len(short(method)) for method in frame["method"])
    size = (max(TWO_COLUMNS, label_width + 0.85 * len(columns)), 0.75 + 0.165 * places[-1])
    widths = [1.0] * (len(columns) - 1) + [1.35]
    figure, axes = panels(1, len(columns), size, sharey=True, width_ratios=widths)
    for panel, (mean, sd, title) in zip(axes[0], columns, strict=True):
        _panel(panel, frame, places, mean, sd, list(results.points["criterion"].dropna().unique()))
        panel.set_title(title, fontsize=7)
    first, last = axes[0, 0], axes[0, -1]
    first.set_yticks(places, [short(row["method"]) + row["mark"] for _, row in frame.iterrows()])
    for label, group in zip(first.get_yticklabels(), frame["group"], strict=True):
        label.set_color(MUTED if group in (FLOORS, CEILINGS) else INK)
    first.set_ylim(places[-1] + 0.7, -0.7)
    _numbers(last, frame, places, set(results.failures["point"]))
    figure.supxlabel(
        "accuracy on the held-out domain, %   (dashed: zero-shot; dotted: in-domain oracle; bars: ± sd over seeds)\n"
        "† chosen on the target   ‡ trained on images that the server never sees",
        fontsize=7,
    )
    return figure


def _places(frame: pd.DataFrame) -> list[float]:
    """Row heights with a small step between groups."""
    changed = (frame["group"] != frame["group"].shift()).cumsum() - 1
    return list(np.arange(len(frame)) + 0.6 * changed)


def _panel(axes: Axes, frame: pd.DataFrame, places: list[float], mean: str, sd: str, criteria: list[str]) -> None:
    start = frame.loc[frame["kind"] == "zero_shot", mean]
    if len(start):
        axes.axvline(100 * start.iloc[0], color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8, zorder=1)
    ceiling = frame.loc[frame["kind"] == "oracle", mean]
    if len(ceiling):
        axes.axvline(100 * ceiling.iloc[0], color=MUTED, linestyle=(0, (1, 2)), linewidth=0.8, zorder=1)
    for place, (_, row) in zip(places, frame.iterrows(), strict=True):
        if np.isnan(row[mean]):
            axes.axhspan(place - 0.4, place + 0.4, facecolor="none", edgecolor="#b0b0b0", hatch=HATCH, linewidth=0)
            continue
        colour = MUTED if row["group"] in (FLOORS, CEILINGS) else colour_of(row["criterion"], criteria)
        face = "white" if row["group"] == CEILINGS else colour
        spread = 0 if np.isnan(row[sd]) else 100 * row[sd]
        axes.plot([100 * row[mean] - spread, 100 * row[mean] + spread], [place, place], color=colour, linewidth=1.2)
        axes.plot(100 * row[mean], place, "o", color=colour, markerfacecolor=face, markersize=3.4, zorder=3)
    axes.grid(True, axis="y", color=FAINT, linewidth=0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=3)
    axes.margins(x=0.12)
    if len(start) and not np.isnan(start.iloc[0]):
        low, high = axes.get_xlim()
        axes.axvspan(
            low, 100 * start.iloc[0], color="#f4f4f4", zorder=0, linewidth=0
        )  # here lies what is below zero-shot
        axes.set_xlim(low, high)


def _numbers(axes: Axes, frame: pd.DataFrame, places: list[float], failed: set[str]) -> None:
    """The average as a number at the right edge of the last panel."""
    for place, (_, row) in zip(places, frame.iterrows(), strict=True):
        absent = MARK if row["point"] in failed else MISSING
        printed = absent if np.isnan(row["mean"]) else f"{100 * row['mean']:.1f}"
        colour = MUTED if row["group"] in (FLOORS, CEILINGS) else INK
        where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(printed, (1, place), (5, 0), va="center", fontsize=6.5, color=colour, **where)
