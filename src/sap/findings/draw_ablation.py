"""Figures `ablation` (criteria at own and at equal norm) and `shrinkage` (the λ path of the unpruned merge)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.findings.ablation import EMPTY, EMPTY_PATH, ablation_frame, pruned_frame, shrinkage_frame
from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.scores import grid, summary, unpruned, zero_shot
from sap.report.style import COLOURS, INK, MUTED, ONE_COLUMN, TWO_COLUMNS, blank, colour_of, label_points, panels, short

Labels = list[tuple[float, float, str, str]]  # x, y, text, colour

STATES = (
    ("own_norm", "own norm", 0.0),
    ("equal_norm", "equal norm", 0.22),
    ("shrunk", "unpruned, shrunk to the own norm", -0.22),
)


@figure("ablation", "Pruning criteria at their own norm and at equal norm", "3 Pruning")
def draw_ablation(results: Results) -> Figure:
    """Criteria at the same ρ: the pruned merge at its own norm (filled), scaled to the unpruned merge's norm (open),
    and the unpruned merge shrunk to the pruned one's norm (diamond). A criterion that does more than shrink lies right
    of its diamond."""
    frame = ablation_frame(results)
    if frame.empty:
        return blank(EMPTY)
    groups = list(frame.groupby(["variant", "prune_ratio"], sort=False))
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    tallest = max(len(group) for _, group in groups)
    size = (ONE_COLUMN * 1.3 if columns == 1 else TWO_COLUMNS, 0.6 + rows * (0.45 + 0.36 * tallest))
    figure, axes = panels(rows, columns, size, sharex=True)
    start = 100 * summary(results, zero_shot(results))["mean"]
    criteria = list(frame["criterion"].unique())
    for panel, ((variant, ratio), group) in zip(axes.flat, groups, strict=False):
        reference = unpruned(results, group["point"].iloc[0])
        plain = 100 * summary(results, grid(results, reference or ""))["mean"]
        _criteria(panel, group, criteria, start, plain)
        panel.set_title(short(f"ρ = {ratio:g}" + (f", {variant}" if variant else ""), 48), pad=14)
    for unused in axes.flat[len(groups) :]:
        unused.set_visible(False)
    figure.supxlabel("accuracy on held-out domains, %   (bars: ± sd over seeds)", fontsize=7)
    _key(figure)
    return figure


@figure("shrinkage", "Does pruning do more than shrinking the update?", "3 Pruning")
def draw_shrinkage(results: Results) -> Figure:
    """The unpruned merge scaled by λ as a curve over its norm, zero-shot at 0; pruned merges stand at their own norm.
    Points above the curve gain something that shrinking the update does not give."""
    path = shrinkage_frame(results)
    if path.empty:
        return blank(EMPTY_PATH)
    pruned = pruned_frame(results)
    merges, criteria = list(path["merge"].unique()), list(pruned["criterion"].unique())
    width = ONE_COLUMN * 1.3 if len(merges) == 1 else TWO_COLUMNS
    columns = min(2, len(merges))
    rows = -(-len(merges) // columns)
    most = pruned.groupby("merge").size().reindex(merges, fill_value=0).max()
    figure, axes = panels(rows, columns, (width, 0.3 + max(2.7, 0.8 + 0.11 * most) * rows), sharey=True)
    labels = {}
    for panel, merge in zip(axes.flat, merges, strict=False):
        labels[panel] = _path(panel, path[path["merge"] == merge])
        labels[panel] += _pruned(panel, pruned[pruned["merge"] == merge], criteria)
        panel.set_title(short(f"merge: {merge}", 44))
    for panel in labels:  # after all panels are drawn: they share the limits of y
        label_points(panel, labels[panel])
    for unused in axes.flat[len(merges) :]:
        unused.set_visible(False)
    figure.supxlabel("norm of the update, relative to the unpruned merge (λ = 1)", fontsize=7)
    figure.supylabel("accuracy on held-out domains, %", fontsize=7)
    return figure


def _criteria(axes: Axes, group: pd.DataFrame, criteria: list[str], start: float, plain: float) -> None:
    lines = [(start, "zero-shot", MUTED, (0, (3, 2))), (plain, "unpruned", COLOURS["none"], "solid")]
    lines = sorted(line for line in lines if not np.isnan(line[0]))
    # Names point away from each other: they stay apart however close the lines are.
    sides = ("right", "left") if len(lines) == 2 else ("center",)
    for (value, name, colour, dash), side in zip(lines, sides, strict=False):
        axes.axvline(value, color=colour, linestyle=dash, linewidth=0.9, zorder=1)
        away = {"right": -1, "left": 1, "center": 0}[side]
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(name, (value, 1), (away, 2), ha=side, fontsize=6, color=colour, **where)
    for place, (_, row) in enumerate(group.iterrows()):
        colour = colour_of(row["criterion"], criteria)
        for column, _, shift in STATES:
            mean, sd = 100 * row[column], 100 * np.nan_to_num(row[f"{column}_sd"])
            if np.isnan(mean):
                continue
            line = MUTED if column == "shrunk" else colour
            axes.plot([mean - sd, mean + sd], [place + shift] * 2, color=line, linewidth=0.9, alpha=0.7)
            axes.plot(mean, place + shift, **_marker(column, colour))
        if np.isnan(row["own_norm"]):
            axes.annotate(
                "missing", (0.5, place), xycoords=("axes fraction", "data"), color=MUTED, ha="center", va="center"
            )
    axes.set_yticks(range(len(group)), [short(name) for name in group["criterion"]])
    axes.set_ylim(len(group) - 0.45, -0.55)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _marker(column: str, colour: str) -> dict[str, Any]:
    shapes: dict[str, dict[str, Any]] = {
        "own_norm": {"marker": "o", "color": colour},
        "equal_norm": {"marker": "o", "color": colour, "markerfacecolor": "white"},
        "shrunk": {"marker": "D", "color": MUTED, "markersize": 3},
    }
    return {"linestyle": "none", "markersize": 4.5, "zorder": 3} | shapes[column]


def _key(figure: Figure) -> None:
    """The three marks explained once, above the panels: too many criteria for a label at each mark."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], label=name, **_marker(column, INK)) for column, name, _ in STATES]
    figure.legend(handles=marks, loc="outside upper left", ncols=3, frameon=False, fontsize=6.5, handletextpad=0.2)


def _path(axes: Axes, path: pd.DataFrame) -> Labels:
    """The curve over λ with its band, and zero-shot as a line; returns their labels."""
    path = path.sort_values("norm")
    mean, sd = 100 * path["mean"], 100 * path["sd"].fillna(0)
    axes.fill_between(path["norm"], mean - sd, mean + sd, color=COLOURS["none"], alpha=0.13, linewidth=0)
    axes.plot(path["norm"], mean, "-", color=COLOURS["none"], marker=".", markersize=4)
    present = path.assign(mean=mean).dropna(subset=["mean", "norm"])
    labels = []
    for _, row in present[present["norm"] == 0].head(1).iterrows():
        axes.axhline(row["mean"], color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8, zorder=1)
        axes.plot(0, row["mean"], "o", color=MUTED, zorder=3)
        labels.append((np.inf, row["mean"], "zero-shot", MUTED))
    for _, row in present[present["norm"] > 0].tail(1).iterrows():
        labels.append((row["norm"], row["mean"], f"unpruned merge, λ = {row['scale']:g}", COLOURS["none"]))
    return labels


def _pruned(axes: Axes, pruned: pd.DataFrame, criteria: list[str]) -> Labels:
    """Pruned merges at their norm with ± sd; returns their labels."""
    labels = []
    for _, row in pruned.dropna(subset=["mean", "norm"]).iterrows():
        colour = colour_of(row["criterion"], criteria)
        value, sd = 100 * row["mean"], 100 * np.nan_to_num(row["sd"])
        axes.plot([row["norm"]] * 2, [value - sd, value + sd], color=colour, linewidth=0.9, alpha=0.7)
        axes.plot(row["norm"], value, "o", color=colour, markeredgecolor="white", markeredgewidth=0.4, zorder=3)
        text = f"{short(row['criterion'], 20)}, ρ = {row['prune_ratio']:g}"
        labels.append((row["norm"], value, short(f"{text}, {row['variant']}" if row["variant"] else text), colour))
    return labels
