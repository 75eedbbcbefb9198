"""What an upload tells about the images behind it, and what it costs to send, before and after pruning."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.exhibit import figure, table
from sap.report.frame import Results
from sap.report.scores import APART, pruning, unpruned, variant, varying
from sap.report.style import COLOURS, INK, MUTED, TWO_COLUMNS, blank, panels, short
from sap.report.table import Column, Table, effect_columns, interval, number, percent, text
from sap.stats.effect import MISSING_EFFECT, Effect, crossed_effect
from sap.stats.summary import summarise

SCORES = {"loss": "Loss of the client's model", "ratio": "Likelihood ratio to zero-shot"}
EMPTY = "This experiment attacks no client's privacy (points of the view `privacy`)."
NOTES = (
    "Membership inference on each client's upload, pruned alone: can its training images be told from other images of "
    "the same domain by the loss (Yeom et al. 2018), or by how much the loss fell below zero-shot's? AUC 0.5 is "
    "chance. TPR: training images found at 1 % false positives. Means and 95 % intervals over clients and seeds.",
    "Upload: the factors in float32, as the client sends them. Kept entries: what pruning leaves of the dense ΔW, with "
    "their places (a bitmap or indices, whichever is smaller). Saved: 1 − kept / factors; negative is larger.",
)
MARKS = {"loss": ("loss", -0.14, INK), "ratio": ("likelihood ratio", 0.14, "white")}


def auc_effect(results: Results, point: str | None, score: str, reference: str | None = None) -> Effect:
    """AUC of a point's uploads minus that of `reference` (minus chance, 0.5, where None), seeds × clients.

    `images` counts the clients: their differences hold the noise of the images, too. Missing with one client, or where
    a client or seed is absent.
    """
    found = _grid(results, point, score)
    other = 0.5 if reference is None else _grid(results, reference, score)
    if found is None or other is None:
        return MISSING_EFFECT
    return crossed_effect([(found - other)[None]])


def privacy_frame(results: Results) -> pd.DataFrame:
    """One row per score and pruning, unpruned first.

    Columns: score, point, criterion, prune_ratio, variant, auc with _low and _high, change (of the AUC against the
    unpruned upload) with _low and _high, tpr, tpr_sd (over clients), members, non_members (of one client, means),
    factor_bytes, entry_bytes, saved (means; NaN without an upload), clients, seeds.
    """
    rows, uploads = results.files["privacy", "privacy"], results.files["privacy", "bytes"]
    if rows.empty:
        return pd.DataFrame()
    points = [point for point in results.points.index if point in set(rows["point"])]
    extra = varying(results, points, APART)
    records = []
    for score in SCORES:
        for point in points:
            settings = results.points.loc[point]
            cut = settings["kind"] == "merge" and settings["criterion"] != "none"
            own = rows[(rows["point"] == point) & (rows["score"] == score)]
            sent = uploads[uploads["point"] == point]
            auc = auc_effect(results, point, score)
            tpr = summarise(own.groupby("client")["tpr"].mean())
            auc = auc._replace(estimate=0.5 + auc.estimate, low=0.5 + auc.low, high=0.5 + auc.high)
            change = auc_effect(results, point, score, unpruned(results, point)) if cut else MISSING_EFFECT
            records.append(
                {
                    "score": score,
                    "point": point,
                    "criterion": settings["criterion"] if settings["kind"] == "merge" else settings["label"],
                    "prune_ratio": float(settings["prune_ratio"]) if cut else 0.0,
                    "variant": variant(settings, extra) if cut else "",
                    **effect_columns("auc", auc),
                    **effect_columns("change", change),
                    "tpr": tpr.mean,
                    "tpr_sd": tpr.sd,
                    **{name: own[name].mean() for name in ("members", "non_members")},
                    **{name: sent[name].mean() for name in ("factor_bytes", "entry_bytes", "saved")},
                    "clients": own["client"].nunique(),
                    "seeds": own["seed"].nunique(),
                }
            )
    frame = pd.DataFrame(records)
    order = list(frame.sort_values("prune_ratio", kind="stable")["criterion"].unique())
    ranked = frame.assign(
        attack=frame["score"].map(list(SCORES).index),
        cut=frame["prune_ratio"] > 0,
        rank=frame["criterion"].map(order.index),
    )
    keys = ["attack", "cut", "variant", "prune_ratio", "rank"]
    return ranked.sort_values(keys, kind="stable", ignore_index=True).drop(columns=["attack", "cut", "rank"])


@table("privacy", "What uploads tell about their images, and their bytes", "6 Needs and costs", reads=("privacy",))
def privacy_table(results: Results) -> Table:
    """Can a client's training images be told from others by its upload, before and after pruning, and what is sent? An
    AUC of 0.5 is chance; negative savings say that the kept entries of a dense update take more bytes than the factors
    did."""
    frame = privacy_frame(results)
    if not frame.empty:
        frame.insert(0, "section", frame["score"].map(SCORES))
    columns = [
        Column("pruning", lambda row: pruning(row["criterion"], row["prune_ratio"])),
        *([Column("variant", text("variant"))] if len(frame) and frame["variant"].any() else []),
        Column("AUC", interval("auc", "{:.3f}", 1, sign="")),
        Column("change", lambda row: interval("change", "{:.3f}", 1)(row) if row["prune_ratio"] else "–"),
        Column("TPR, %", percent("tpr", "tpr_sd")),
        Column("upload, kB", number("factor_bytes", "{:,.0f}", 1e-3, absent="–")),
        Column("kept entries, kB", number("entry_bytes", "{:,.0f}", 1e-3, absent="–")),
        Column("saved, %", number("saved", "{:,.0f}", 100, absent="–")),
        Column("n", _size),
    ]
    return Table(frame, columns, EMPTY, section="section", notes=NOTES)


def _grid(results: Results, point: str | None, score: str) -> np.ndarray | None:
    """AUC (S, clients) of a point's uploads, NaN where absent; None without any."""
    rows = results.files["privacy", "privacy"]
    own = rows[(rows["point"] == point) & (rows["score"] == score)] if len(rows) else rows
    if own.empty:
        return None
    return own.pivot(index="seed", columns="client", values="auc").reindex(results.seeds).to_numpy()


def _size(row: pd.Series) -> str:
    return f"{row['clients']} clients × {row['seeds']} seeds, {row['members']:.0f} + {row['non_members']:.0f} images"


@figure("privacy", "What uploads tell about their images, and their bytes", "6 Needs and costs")
def draw_privacy(results: Results) -> Figure:
    """Left: AUC of two membership attacks on the uploads, with 95 % intervals over clients and seeds; the dashed line
    is chance. Right: bytes of what is sent after pruning, over the bytes of the unpruned factors."""
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
