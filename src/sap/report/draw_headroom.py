"""Figure `headroom`: zero-shot, linear probe and both ceilings on each domain, over all images and by alignment."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.headroom import ALL, EMPTY, JUDGED, TERCILES, headroom_frame
from sap.report.style import COLOURS, INK, MUTED, TWO_COLUMNS, blank, panels, short

LOOKS = {  # column -> (name, colour, marker)
    "zero_shot": ("zero-shot", MUTED, "o"),
    "probe": ("linear probe on frozen features", COLOURS["random"], "s"),
    "pooled": ("pooled (all other domains)", COLOURS["none"], "^"),
    "oracle": ("oracle (the domain itself)", INK, "D"),
}
COLUMNS = 4  # panels side by side, at most


@figure("headroom", "Room above zero-shot on each domain", "1 Claims")
def draw_headroom(results: Results) -> Figure:
    """Accuracy of zero-shot, a linear probe and both ceilings on each domain, over all test images and over their
    thirds by zero-shot alignment to the true class. The gap between grey and black is the room; where it lies in the
    lowest third only, gains come from images that zero-shot does not understand.
    """
    frame = headroom_frame(results)
    if frame.empty:
        return blank(EMPTY)
    frame = frame[frame["domain"] != ALL]
    rows = math.ceil(len(frame) / COLUMNS)
    columns = math.ceil(len(frame) / rows)
    figure, axes = panels(rows, columns, (TWO_COLUMNS, 0.7 + 1.75 * rows), sharey=True)
    for panel in axes.flat[len(frame) :]:
        panel.set_visible(False)
    for panel, (_, row) in zip(axes.flat, frame.iterrows(), strict=False):
        _panel(panel, row)
        panel.set_title(f"{short(row['domain'], 20)}, n = {row['n']:,}", fontsize=7)
    for panel in axes[:, 0]:
        panel.set_ylabel("accuracy, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=6.5)
    figure.supxlabel(
        "all test images (bars: 95 % interval), and their thirds by zero-shot alignment to the true class", fontsize=7
    )
    return figure


def _panel(axes: Axes, row: pd.Series) -> None:
    for index, (kind, (name, colour, marker)) in enumerate(LOOKS.items()):
        place = 0.16 * (index - 1.5)
        look = {"color": colour, "marker": marker, "markersize": 3.2, "linewidth": 1}
        axes.plot([place, place], [100 * row[f"{kind}_low"], 100 * row[f"{kind}_high"]], color=colour, linewidth=1)
        axes.plot([place], [100 * row[kind]], **look, linestyle="none", label=name)
        if kind in JUDGED:
            axes.plot([1.2, 2.2, 3.2], [100 * row[f"{kind}__{name}"] for name in TERCILES], **look)
    axes.set_xticks([0, 1.2, 2.2, 3.2], ["all", *TERCILES])
    axes.set_xlim(-0.5, 3.5)
    axes.margins(y=0.08)
    axes.grid(False, axis="x")
