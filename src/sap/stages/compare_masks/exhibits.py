"""Do masks agree across draws and sizes of the anchors, and with pruning by magnitude (C6)?"""

from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from sap.report.exhibit import figure, table
from sap.report.frame import Results
from sap.report.layers import KINDS, placed
from sap.report.style import COLOURS, MUTED, SPLIT, TWO_COLUMNS, blank, heatmap, label_ends, panels, ramp, short
from sap.report.table import Column, Table, effect_columns, interval, number, spread
from sap.stats.effect import MISSING_EFFECT, Effect, crossed_effect
from sap.stats.pairs import member_values
from sap.stats.summary import summarise

DRAWS, SIZES, BLIND = "another draw, as many anchors", "the same draw, more anchors", "magnitude, no anchors"
EMPTY = "This experiment compares no masks (evidence.masks)."
NOTES = (
    "Masks of one client's update at ρ, one threshold per layer. Jaccard: entries that both masks keep over those that "
    "one of them keeps; chance: independent masks. Spearman: rank correlation of the scores, whatever ρ. Mean ± sd "
    "over clients, each a mean over its seeds and pairs of masks (the last factor of n). A draw's larger sets hold its "
    "smaller ones.",
    "Above chance: Jaccard − chance in points with 95 % interval over draws (pairs of draws that share one are not "
    "independent, and not taken as such), seeds and clients.",
)
NAMES = {
    DRAWS: ("another draw", COLOURS["taylor_absolute"]),
    SIZES: ("the draw's largest set", COLOURS["none"]),
    BLIND: ("magnitude", COLOURS["magnitude"]),
}
EMPTY_KEPT = "This experiment holds no masks to look into (evidence.masks)."
WIDE = 8  # blocks: with more, one panel takes the whole width


def compared(results: Results) -> pd.DataFrame:
    """masks.csv with `comparison` (DRAWS, SIZES, BLIND) and `size`, `other_size` (0: none), without other pairs."""
    masks = results.files["compare_masks", "masks"]
    if masks.empty:
        return masks
    blind, alike = masks["draw_b"] == "magnitude", masks["draw_a"] == masks["draw_b"]
    equal = masks["size_a"] == masks["size_b"]
    comparison = np.select([blind, alike & ~equal, ~alike & equal], [BLIND, SIZES, DRAWS], default="")
    sizes = {"size": masks[["size_a", "size_b"]].min(axis=1), "other_size": masks[["size_a", "size_b"]].max(axis=1)}
    masks = masks.assign(comparison=comparison, **sizes)
    masks.loc[blind, ["size", "other_size"]] = masks.loc[blind, ["size_a", "size_b"]].to_numpy()
    return masks[masks["comparison"] != ""]


def masks_effect(results: Results, ratio: float, size: int | None = None) -> Effect:
    """Jaccard − chance of masks from different draws of `size` anchors (None: the largest) at one ρ, a share.

    Draws × seeds × clients (`images` counts the clients); with two draws it holds for these two. Missing with one draw
    or client, or where a pair or seed is absent.
    """
    rows = compared(results)
    if rows.empty:
        return MISSING_EFFECT
    rows = rows[(rows["comparison"] == DRAWS) & (rows["ratio"] == ratio)]
    rows = rows[rows["size"] == (rows["size"].max() if size is None else size)]
    draws = sorted({*rows["draw_a"], *rows["draw_b"]}, key=int)
    pairs, clients = list(combinations(draws, 2)), list(dict.fromkeys(rows["client"]))
    both = map(frozenset, zip(rows["draw_a"], rows["draw_b"], strict=True))
    found = dict(
        zip(zip(rows["seed"], rows["client"], both, strict=True), rows["jaccard"] - rows["chance"], strict=True)
    )
    values = np.array(
        [[[found.get((s, c, frozenset(pair)), np.nan) for pair in pairs] for c in clients] for s in results.seeds]
    )  # (S, clients, pairs)
    if not pairs or len(clients) < 2:
        return MISSING_EFFECT
    by_draw = member_values(values, pairs) if len(draws) > 2 else values
    return crossed_effect([np.moveaxis(by_draw, -1, 0)])


def masks_frame(results: Results) -> pd.DataFrame:
    """One row per ρ, comparison and size(s).

    Columns: ratio, comparison, size, other_size, jaccard, jaccard_sd, chance, spearman, spearman_sd, above_chance with
    _low and _high (draws only), clients, seeds, pairs (of masks, for one client and seed).
    """
    rows = compared(results)
    records = []
    keys = ["ratio", "comparison", "size", "other_size"]
    for (ratio, comparison, size, other), group in rows.groupby(keys, sort=False) if len(rows) else ():
        record = {"ratio": ratio, "comparison": comparison, "size": size, "other_size": other}
        for name in ("jaccard", "spearman"):
            total = summarise(group.groupby("client")[name].agg(lambda values: values.mean(skipna=False)))
            record |= {name: total.mean, f"{name}_sd": total.sd}
        effect = masks_effect(results, ratio, size) if comparison == DRAWS else MISSING_EFFECT
        records.append(
            record
            | {"chance": group["chance"].iloc[0]}
            | effect_columns("above_chance", effect)
            | {"clients": group["client"].nunique(), "seeds": group["seed"].nunique()}
            | {"pairs": len(group[["draw_a", "draw_b"]].drop_duplicates())}
        )
    frame = pd.DataFrame(records)
    if frame.empty:
        return frame
    rank = frame["comparison"].map([DRAWS, SIZES, BLIND].index)
    order = ["ratio", "rank", "size", "other_size"]
    return frame.assign(rank=rank).sort_values(order, ignore_index=True).drop(columns="rank")


@table("masks", "How far masks agree across anchor draws and sizes", "3 Pruning", reads=())
def masks_table(results: Results) -> Table:
    """How far the masks of one client agree when the anchors change in draw or number, and with masks that read no
    anchors. Enough anchors make masks agree far above chance; masks that agree with magnitude as well owe nothing to
    the anchors."""
    frame = masks_frame(results)
    if not frame.empty:
        frame.insert(0, "section", [f"ρ = {ratio:g}" for ratio in frame["ratio"]])
    columns = [
        Column("mask from", lambda row: f"{row['size']} anchors"),
        Column("compared with", _other),
        Column("Jaccard", spread("jaccard")),
        Column("chance", number("chance", "{:.2f}")),
        Column("above chance", lambda row: interval("above_chance")(row) if row["comparison"] == DRAWS else "–"),
        Column("Spearman", spread("spearman")),
        Column("n", lambda row: f"{row['clients']} clients × {row['seeds']} seeds × {row['pairs']}"),
    ]
    return Table(frame, columns, EMPTY, section="section", notes=NOTES)


def _other(row: pd.Series) -> str:
    return row["comparison"] + (f" ({row['other_size']})" if row["comparison"] == SIZES else "")


@figure("masks", "How far masks agree across anchor draws and sizes", "3 Pruning")
def draw_masks(results: Results) -> Figure:
    """Left: agreement of the masks from two anchor draws against the number of anchors, with chance dashed. Right: rank
    correlation of the scores with those of another draw, of the draw's largest set, and of magnitude."""
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


@figure("kept", "Where in the network the kept entries lie", "3 Pruning")
def draw_kept(results: Results) -> Figure:
    """Saliency per entry, and the share of entries kept where one threshold cuts the whole visual tower, by kind of
    layer and block. Blue lies above an even share and orange below; means over clients and seeds."""
    kept, layers = results.files["compare_masks", "kept"], results.files["diagnose", "saliency"]
    if kept.empty:
        return blank(EMPTY_KEPT)
    maps = []
    if len(layers):
        totals = layers.groupby(["seed", "client"])["entries"].transform("sum")
        density = layers.assign(value=layers["score_share"] / (layers["entries"] / totals))
        maps.append(("saliency per entry (1: even)", _map(density), 1.0, "{:.1f}"))
    for ratio, rows in kept.groupby("ratio"):
        values = _map(rows.assign(value=100 * rows["kept"] / rows["entries"]))
        even = 100 * (1 - ratio)
        maps.append((f"kept at ρ = {ratio:g}, % (even: {even:.3g})", values, even, "{:.0f}"))
    blocks, kinds = max(values.shape[1] for _, values, _, _ in maps), max(len(values) for _, values, _, _ in maps)
    columns = 1 if blocks > WIDE else min(len(maps), 3)
    rows = -(-len(maps) // columns)
    figure, axes = panels(rows, columns, (TWO_COLUMNS, 0.35 + rows * (0.4 + 0.24 * kinds)))
    for panel, (title, values, even, form) in zip(axes.flat, maps, strict=False):
        _panel(panel, values, even, form)
        panel.set_title(title)
    for column in range(1, columns):
        for panel in axes[:, column]:
            panel.tick_params(labelleft=False)
    for unused in axes.flat[len(maps) :]:
        unused.set_visible(False)
    figure.supxlabel("block of the visual tower (0 is next to the image)", fontsize=7)
    return figure


def _map(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean of `value`: index kinds of layers in their order, columns blocks."""
    frame = placed(frame)
    grid = frame.pivot_table(index="part", columns="depth", values="value")
    return grid.reindex(list(frame["part"].unique()))


def _panel(axes: Axes, values: pd.DataFrame, even: float, form: str) -> None:
    names = [KINDS.get(kind, (short(kind, 20),))[0] for kind in values.index]
    norm = TwoSlopeNorm(even, 0, max(2 * even, np.nanmax(values.to_numpy(), initial=0)))
    heatmap(axes, values.to_numpy(), names, [str(block) for block in values.columns], SPLIT, norm, form, 6)
    if not axes.texts:  # too many blocks for numbers
        axes.figure.colorbar(axes.images[0], ax=axes, aspect=10).outline.set_visible(False)
