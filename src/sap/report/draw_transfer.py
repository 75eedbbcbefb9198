"""Figure `seen_unseen`: every client on every domain as a matrix, methods on seen and unseen domains as pairs."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.style import INK, MUTED, SHARE, TWO_COLUMNS, blank, colour_of, heatmap, panels, short, tilted
from sap.report.transfer import EMPTY, client_matrix_frame, seen_unseen_frame


@figure("seen_unseen", "Every client on every domain; methods on seen and unseen domains", "2 Accuracy")
def draw_seen_unseen(results: Results) -> Figure:
    """Left: every client alone on every domain, its own domain framed; one that is good only there has learned what
    does not travel. Right: each method on unseen (filled) and seen (open) domains; the shorter the line, the less a
    domain loses by being held out.
    """
    matrix, methods = client_matrix_frame(results), seen_unseen_frame(results)
    if matrix.empty and methods.empty:
        return blank(EMPTY)
    height = 1.1 + max(0.21 * len(matrix), 0.19 * len(methods), 1.2)
    figure, axes = panels(1, 2, (TWO_COLUMNS, height), width_ratios=(1.1, 1))
    _matrix(axes[0, 0], matrix, results.domains)
    _pairs(axes[0, 1], methods, list(results.points["criterion"].dropna().unique()))
    return figure


def _matrix(axes: Axes, matrix: pd.DataFrame, domains: list[str]) -> None:
    if matrix.empty:
        axes.set_axis_off()
        return
    values = 100 * matrix[[f"accuracy__{domain}" for domain in domains]].to_numpy(dtype=float)
    finite = values[~np.isnan(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 100)
    names = [short(name, 22) for name in matrix["client"]]
    columns = [short(domain, 16) for domain in domains]
    heatmap(axes, values, names, columns, SHARE, Normalize(low - 0.15 * (high - low + 1), high))
    axes.set_xticks(range(len(domains)), columns, **tilted(columns, 2.6 / len(domains)))
    for row, trained in enumerate(matrix["trained_on"]):
        for domain in set(trained.split("+")) & set(domains):
            axes.add_patch(
                Rectangle((domains.index(domain) - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor=INK, linewidth=1)
            )
    axes.set_title("each client alone, accuracy in %")
    axes.set_xlabel("tested on   (framed: the client's own domain)")
    axes.set_ylabel("client")


def _pairs(axes: Axes, methods: pd.DataFrame, criteria: list[str]) -> None:
    for place, (_, row) in enumerate(methods.iterrows()):
        merged = row["kind"] == "merge"
        colour = colour_of(row["criterion"], criteria) if merged else MUTED
        unseen, seen = 100 * row["unseen"], 100 * row["seen"]
        axes.plot([unseen, seen], [place, place], color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(unseen, place, "o", color=colour)
        axes.plot(seen, place, "o", color=colour, markerfacecolor="white")
        if np.isnan(unseen) or np.isnan(seen):
            where = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "center"}
            axes.annotate("missing", (0.98, place), color=MUTED, fontsize=6.5, **where)
    axes.set_yticks(
        range(len(methods)), [short(row["method"]) + row["mark"] for _, row in methods.iterrows()], fontsize=6
    )
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.set_title("● unseen   ○ seen domains")
    axes.set_xlabel("accuracy, %")
