"""Figure `privacy`: how well training images are recognised from an upload, and what it costs to send."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.privacy import EMPTY, privacy_frame
from sap.report.probes import pruning
from sap.report.style import COLOURS, INK, MUTED, TWO_COLUMNS, blank, panels, short

MARKS = {"loss": ("loss", -0.14, INK), "ratio": ("likelihood ratio", 0.14, "white")}


@figure("privacy", "What uploads tell about their images, and their bytes", "6 Needs and costs")
def draw_privacy(results: Results) -> Figure:
    """Left: AUC of two membership attacks on the uploads, with 95 % intervals over clients and seeds; the dashed line
    is chance. Right: bytes of what is sent after pruning, over the bytes of the unpruned factors.
    """
    frame = privacy_frame(results)
    if frame.empty:
        return blank(EMPTY)
    rows = frame[frame["score"] == frame["score"].iloc[0]]
    names = [pruning(row["criterion"], row["prune_ratio"]) for _, row in rows.iterrows()]
    names = [
        short(name + (f", {extra}" if extra else ""), 44) for name, extra in zip(names, rows["variant"], strict=True)
    ]
    figure, axes = panels(1, 2, (TWO_COLUMNS, 0.9 + 0.24 * len(rows)), sharey=True, width_ratios=(1.4, 1))
    left, right = axes[0]
    _auc(left, frame)
    _bytes(right, rows)
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.4, -0.6)
    for panel in (left, right):
        panel.grid(False, axis="y")
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
    return figure


def _auc(axes: Axes, frame: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D

    axes.axvline(0.5, color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8, zorder=1)
    for score, rows in frame.groupby("score", sort=False):
        _, shift, fill = MARKS[score]
        for place, (_, row) in enumerate(rows.iterrows()):
            if np.isnan(row["auc"]):
                where = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "center", "fontsize": 6}
                axes.annotate("missing", (0.98, place + shift), color=MUTED, **where)
                continue
            axes.plot([row["auc_low"], row["auc_high"]], [place + shift] * 2, color=INK, linewidth=0.9, alpha=0.7)
            axes.plot(row["auc"], place + shift, "o", color=INK, markerfacecolor=fill)
    handles = [
        Line2D([], [], marker="o", linestyle="none", color=INK, markerfacecolor=fill, label=name)
        for name, _, fill in MARKS.values()
    ]
    axes.figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=6.5)
    axes.set_xlabel("AUC of membership inference   (bars: 95 %; dashed: chance)")


def _bytes(axes: Axes, rows: pd.DataFrame) -> None:
    relative = rows["entry_bytes"] / rows["factor_bytes"]
    axes.axvline(1, color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8, zorder=1)
    axes.barh(range(len(rows)), relative.fillna(0), height=0.5, color=COLOURS["none"], alpha=0.75)
    for place, (ratio, size) in enumerate(zip(relative, rows["entry_bytes"], strict=True)):
        printed = "nothing sent" if np.isnan(ratio) else f"{1e-3 * size:,.0f} kB"
        where = {"textcoords": "offset points", "va": "center", "fontsize": 6}
        axes.annotate(printed, (max(1.0, np.nan_to_num(ratio)), place), (3, 0), **where)  # right of the dashed line
    axes.set_xlim(0, 1.25 * max(1.0, relative.max(skipna=True)))
    axes.set_xlabel("upload of one client, × its factors (dashed)")
