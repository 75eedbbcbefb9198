"""The sweep: prune ratio × anchor set size × merge method, over the points of the view `sweep`."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from sap.findings.main import images_and_seeds, worst_domain
from sap.report.exhibit import figure, table
from sap.report.frame import Results
from sap.report.scores import domain_columns, grid, summary, unpruned, uses_anchors, variant, varying, zero_shot
from sap.report.style import (
    COLOURS,
    MUTED,
    ONE_COLUMN,
    SPLIT,
    TWO_COLUMNS,
    around_zero,
    blank,
    colour_of,
    heatmap,
    label_ends,
    panels,
    ramp,
    short,
)
from sap.report.table import Column, Table, is_missing, number, percent, points, text

EMPTY = "This experiment holds no sweep points."
EXTRA = (
    "criterion",
    "space",
    "alignment",
    "reduction",
    "scope",
    "rescale",
    "scale",
    "anchor_pool",
    "anchor_draw",
    "control",
)
NOTES = (
    "Accuracy in percent on held-out domains, averaged over domains, mean ± sd over seeds. Δ: points above zero-shot, "
    "paired by seed; ↓ below zero-shot. n: test images × seeds. ρ = 0 is the unpruned merge.",
)
PER_ROW = 3


def sweep_frame(results: Results) -> pd.DataFrame:
    """One row per sweep point, ordered by merge, variant, anchors and ρ.

    Columns: merge, variant (the settings beyond the axes that vary, as text), anchor_size (NaN where the criterion
    reads no anchors), prune_ratio (0 for the unpruned merge), point, label, summary and domain columns.
    """
    inside = results.in_view("sweep")
    pruned = [point for point in inside if results.points.loc[point, "criterion"] != "none"]
    extra = varying(results, pruned, EXTRA)
    records = []
    for point in inside:
        settings = results.points.loc[point]
        cut = settings["criterion"] != "none"
        values = grid(results, point)
        records.append(
            {
                "merge": settings["merge"],
                "variant": variant(settings, extra) if cut else "",
                "criterion": settings["criterion"],
                "anchor_size": settings["anchor_size"] if uses_anchors(results, point) else None,
                "prune_ratio": settings["prune_ratio"] if cut else 0.0,
                "point": point,
                "label": settings["label"],
                **summary(results, values),
                **domain_columns(results, values),
            }
        )
    frame = pd.DataFrame(records)
    if frame.empty:
        return frame
    frame = frame.astype({"anchor_size": float, "prune_ratio": float})
    order = ["merge", "variant", "anchor_size", "prune_ratio"]
    return frame.sort_values(order, kind="stable", na_position="first", ignore_index=True)


def unpruned_frame(results: Results) -> pd.DataFrame:
    """The unpruned merge (from any view) of each merge method in the sweep: merge, mean, sd, delta, delta_sd."""
    records = []
    for point in results.in_view("sweep"):
        reference = unpruned(results, point)
        if reference is not None:
            records.append({"merge": results.points.loc[point, "merge"], **summary(results, grid(results, reference))})
    columns = ["merge", "mean", "sd", "delta", "delta_sd"]
    return pd.DataFrame(records, columns=columns).drop_duplicates("merge", ignore_index=True)


@table("sweep", "Prune ratio × anchor set size × merge method", "3 Pruning")
def sweep_table(results: Results) -> Table:
    """The sweep over prune ratio ρ, anchor set size and merge method: accuracy averaged over the held-out domains, gain
    over zero-shot, and the worst domain. Compare each row with ρ = 0, the unpruned merge of the same method, before
    zero-shot."""
    frame = sweep_frame(results)
    shown = [] if frame.empty or not frame["variant"].any() else [Column("variant", text("variant"))]
    columns = [
        Column("ρ", lambda row: f"{row['prune_ratio']:g}"),
        *shown,
        Column("anchors", lambda row: "no" if is_missing(row["anchor_size"]) else number("anchor_size")(row)),
        Column("accuracy", percent("mean", "sd", "delta")),
        Column("Δ", points("delta", "delta_sd", mark=True)),
        Column("worst domain", worst_domain),
        Column("n", images_and_seeds),
    ]
    return Table(frame, columns, EMPTY, section="merge", notes=NOTES)


@figure("sweep_curves", "Accuracy against prune ratio", "3 Pruning")
def draw_sweep_curves(results: Results) -> Figure:
    """Accuracy, averaged over held-out domains, against the share of pruned entries ρ; one panel per merge method, one
    line per anchor set size (darker is larger), bands are ± one standard deviation over seeds. Lines: unpruned merge,
    zero-shot."""
    frame = sweep_frame(results)
    groups = _groups(frame)
    if not groups:
        return blank(EMPTY)
    references = unpruned_frame(results).set_index("merge")
    start = 100 * summary(results, zero_shot(results))["mean"]
    figure, axes = _grid_of_panels(len(groups), height=2.0, sharey=True)
    for panel, (title, merge, group) in zip(axes.flat, groups, strict=False):
        _curves(panel, group)
        panel.set_title(title)
        _ticks(panel, group["prune_ratio"])
        panel.reference = 100 * references.loc[merge, "mean"] if merge in references.index else np.nan
    _share_limits(axes.flat[: len(groups)], start)
    for panel, (_, _, group) in zip(axes.flat, groups, strict=False):
        _labels(panel, group, start)
    figure.supxlabel("share of entries pruned, ρ", fontsize=7)
    figure.supylabel("accuracy on held-out domains, %", fontsize=7)
    return figure


@figure("sweep_heatmap", "Change to zero-shot over prune ratio and anchor set size", "3 Pruning")
def draw_sweep_heatmap(results: Results) -> Figure:
    """Gain over zero-shot in points over ρ and anchor set size, one panel per merge method; hatched cells are missing.
    The colours are symmetric around zero: blue is better than zero-shot, orange worse."""
    frame = sweep_frame(results)
    groups = _groups(frame)
    if not groups:
        return blank(EMPTY)
    n_rows = max(group["anchor_size"].nunique(dropna=False) for _, _, group in groups)
    figure, axes = _grid_of_panels(len(groups), height=0.85 + 0.21 * n_rows)
    norm = around_zero(100 * frame["delta"].to_numpy(dtype=float))
    for panel, (title, _, group) in zip(axes.flat, groups, strict=False):
        cells = group.pivot_table(
            index=group["anchor_size"].fillna(0), columns="prune_ratio", values="delta", aggfunc="mean", dropna=False
        )
        rows = [_anchors(size) for size in cells.index]
        heatmap(
            panel,
            100 * cells.to_numpy(dtype=float),
            rows,
            [f"{ratio:g}" for ratio in cells.columns],
            SPLIT,
            norm,
            "{:+.1f}",
        )
        panel.set_title(title)
    figure.supxlabel("share of entries pruned, ρ", fontsize=7)
    figure.supylabel("anchors", fontsize=7)
    _bar(figure, axes, norm, "Δ to zero-shot, points")
    return figure


def _groups(frame: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """(title, merge, rows) of each panel: the pruned rows of one merge method and variant."""
    if frame.empty:
        return []
    pruned = frame[frame["prune_ratio"] > 0]
    grouped = pruned.groupby(["merge", "variant"], sort=False)
    return [(short(f"{merge}, {variant}" if variant else merge, 44), merge, rows) for (merge, variant), rows in grouped]


def _grid_of_panels(n: int, height: float, **layout: object) -> tuple[Figure, np.ndarray]:
    columns = min(n, PER_ROW)
    rows = -(-n // columns)
    width = ONE_COLUMN if columns == 1 else TWO_COLUMNS
    figure, axes = panels(rows, columns, (width, 0.35 + height * rows), **layout)
    for unused in axes.flat[n:]:
        unused.set_visible(False)
    return figure, axes


def _curves(axes: Axes, group: pd.DataFrame) -> None:
    sizes = group["anchor_size"].fillna(0).unique()
    for size, colour in zip(sizes, ramp(len(sizes), colour_of(group["criterion"].iloc[0])), strict=True):
        line = group[group["anchor_size"].fillna(0) == size]
        ratios, mean, sd = line["prune_ratio"], 100 * line["mean"], 100 * line["sd"].fillna(0)
        axes.fill_between(ratios, mean - sd, mean + sd, color=colour, alpha=0.13, linewidth=0)
        axes.plot(ratios, mean, "o-", color=colour, markersize=2.8)


def _labels(axes: Axes, group: pd.DataFrame, start: float) -> None:
    """Reference lines and the direct labels at the right end of every line."""
    labels: list[tuple[float, str, Any]] = []
    sizes = group["anchor_size"].fillna(0).unique()
    for size, colour in zip(sizes, ramp(len(sizes), colour_of(group["criterion"].iloc[0])), strict=True):
        present = group[(group["anchor_size"].fillna(0) == size) & group["mean"].notna()]
        if len(present):
            name = "no anchors" if size == 0 else f"{size:.0f} anchors"
            labels.append((100 * present["mean"].iloc[-1], name, colour))
    lines: list[tuple[float, str, str, Any]] = [
        (start, "zero-shot", MUTED, (0, (3, 2))),
        (axes.reference, "unpruned merge", COLOURS["none"], "solid"),
    ]
    for value, name, shade, dash in lines:
        if not np.isnan(value):
            axes.axhline(value, color=shade, linestyle=dash, linewidth=0.9, zorder=1)
            labels.append((value, name, shade))
    label_ends(axes, axes.get_xlim()[1], labels)


def _share_limits(axes: np.ndarray, start: float) -> None:
    """The same limits in every panel, with room for the reference lines."""
    values = [limit for panel in axes for limit in panel.get_ylim()] + [panel.reference for panel in axes] + [start]
    low, high = np.nanmin(values), np.nanmax(values)
    axes[0].set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))


def _ticks(axes: Axes, ratios: pd.Series) -> None:
    values = sorted(set(ratios))
    step = -(-len(values) // 6)
    axes.xaxis.set_major_locator(FixedLocator(values[::-1][::step]))
    axes.xaxis.set_major_formatter("{x:g}")


def _anchors(size: float) -> str:
    return "none" if size == 0 else f"{size:.0f}"


def _bar(figure: Figure, axes: np.ndarray, norm: object, label: str) -> None:
    import matplotlib.cm as cm

    bar = figure.colorbar(cm.ScalarMappable(norm, SPLIT), ax=axes, aspect=18, pad=0.01)
    bar.set_label(label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
