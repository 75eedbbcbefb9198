"""Figure `masks`: do masks agree across anchor draws and sizes, and with pruning by magnitude?"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.masks import BLIND, DRAWS, EMPTY, SIZES, masks_frame
from sap.report.style import COLOURS, MUTED, TWO_COLUMNS, blank, label_ends, panels, ramp

NAMES = {
    DRAWS: ("another draw", COLOURS["taylor_absolute"]),
    SIZES: ("the draw's largest set", COLOURS["none"]),
    BLIND: ("magnitude", COLOURS["magnitude"]),
}


@figure("masks", "How far masks agree across anchor draws and sizes", "3 Pruning")
def draw_masks(results: Results) -> Figure:
    """Left: agreement of the masks from two anchor draws against the number of anchors, with chance dashed. Right: rank
    correlation of the scores with those of another draw, of the draw's largest set, and of magnitude.
    """
    frame = masks_frame(results)
    if frame.empty:
        return blank(EMPTY)
    figure, axes = panels(1, 2, (TWO_COLUMNS, 2.5))
    left, right = axes[0]
    sizes = sorted(frame["size"].unique())
    draws = frame[frame["comparison"] == DRAWS]
    shades = dict(zip(sorted(frame["ratio"].unique()), ramp(frame["ratio"].nunique() + 1)[1:], strict=True))
    labels = []
    for ratio, rows in draws.groupby("ratio"):
        _line(left, rows, "jaccard", shades[ratio])
        left.axhline(rows["chance"].iloc[0], color=shades[ratio], linestyle=(0, (3, 2)), linewidth=0.8, zorder=1)
        labels += [(rows["jaccard"].iloc[-1], f"ρ = {ratio:g}", shades[ratio])]
        labels += [(rows["chance"].iloc[0], f"chance, ρ = {ratio:g}", shades[ratio])]
    if draws.empty:
        where = {"xycoords": "axes fraction", "ha": "center", "color": MUTED, "style": "italic"}
        left.annotate("one draw of the anchors: nothing to compare", (0.5, 0.5), **where)
        left.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3)
    _finish(left, sizes, labels, "masks of two draws of the anchors", "Jaccard index of the kept entries")
    scores = frame[frame["ratio"] == frame["ratio"].min()]  # Spearman does not depend on ρ
    scores = scores[(scores["comparison"] != SIZES) | (scores["other_size"] == max(sizes))]
    labels = []
    for comparison, rows in scores.groupby("comparison", sort=False):
        name, colour = NAMES[comparison]
        _line(right, rows, "spearman", colour)
        labels.append((rows["spearman"].iloc[-1], name, colour))
    right.axhline(0, color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8, zorder=1)
    _finish(right, sizes, labels, "scores, compared with those of …", "Spearman's rank correlation")
    figure.supxlabel("anchors   (bars: ± sd over clients)", fontsize=7)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, column: str, colour: object) -> None:
    rows = rows.sort_values("size")
    axes.errorbar(rows["size"], rows[column], rows[f"{column}_sd"].fillna(0), fmt="o-", color=colour, elinewidth=0.8)


def _finish(axes: Axes, sizes: list[int], labels: list[tuple[float, str, object]], title: str, label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_ylim(min(0, axes.get_ylim()[0]), max(1, axes.get_ylim()[1]))
    axes.set_title(title)
    axes.set_ylabel(label)
    label_ends(axes, axes.get_xlim()[1], [label for label in labels if label[0] == label[0]])
