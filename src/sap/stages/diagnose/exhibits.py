"""Figures `saliency_layers` (where the saliency lies) and `agreement` (how far the clients' updates agree)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.layers import KINDS, placed
from sap.report.style import (
    INK,
    MUTED,
    OTHERS,
    SPLIT,
    TWO_COLUMNS,
    around_zero,
    blank,
    heatmap,
    label_ends,
    panels,
    short,
    tilted,
)

EMPTY_LAYERS = "This experiment holds no saliency per layer."
EMPTY_AGREEMENT = "This experiment holds no comparison of the clients' updates."


@figure("saliency_layers", "Where in the network the saliency lies", "3 Pruning")
def draw_saliency_layers(results: Results) -> Figure:
    """Where the saliency lies: each layer's share of all saliency (left) and the same per entry (right), mean over
    clients and seeds with ± one standard deviation as band. On the right 1 means as much as the layer's size would
    give, so pruning with one threshold for all layers empties first what lies below it."""
    layers = results.files["diagnose", "saliency"]
    if layers.empty:
        return blank(EMPTY_LAYERS)
    totals = layers.groupby(["seed", "client"])["entries"].transform("sum")
    layers = layers.assign(
        share=100 * layers["score_share"], density=layers["score_share"] / (layers["entries"] / totals)
    )
    figure, axes = panels(1, 2, (TWO_COLUMNS, 2.3))
    left, right = axes[0]
    _by_depth(left, layers, "share")
    left.set_ylabel("share of the saliency, %")
    _by_depth(right, layers, "density", (1, "even"))
    right.set_ylabel("saliency per entry (1: even)")
    figure.supxlabel(
        "block of the visual tower (0 is next to the image)   band: ± sd over clients and seeds", fontsize=7
    )
    return figure


@figure("agreement", "How far the clients' updates agree", "4 Updates and merges")
def draw_agreement(results: Results) -> Figure:
    """Left: cosine between the updates of each pair of clients, mean over layers and seeds. Right: share of entries
    whose signs conflict, per layer; two unrelated updates conflict in half of their entries (dashed)."""
    pairs = results.files["diagnose", "agreement"]
    if pairs.empty:
        return blank(EMPTY_AGREEMENT)
    clients = [name for name in results.client_domains if name in set(pairs["client_a"]) | set(pairs["client_b"])]
    cosine = pairs.groupby(["client_a", "client_b"])["cosine"].mean()
    values = np.full((len(clients), len(clients)), np.nan)
    for (a, b), value in cosine.items():
        i, j = clients.index(a), clients.index(b)
        values[i, j] = values[j, i] = value
    np.fill_diagonal(values, 0.0)  # no colour: it is 1 by definition
    figure, axes = panels(1, 2, (TWO_COLUMNS, max(2.4, 1.1 + 0.1 * len(clients))), width_ratios=(1, 1.15))
    left, right = axes[0]
    names = [short(name, 16) for name in clients]
    size = 6.5 if len(clients) <= 6 else 5
    heatmap(left, values, names, names, SPLIT, around_zero(values, 0.1), "{:.2f}", size)
    for text in [text for text in left.texts if text.get_position()[0] == text.get_position()[1]]:
        text.set_text("1")
    left.set_xticks(range(len(clients)), names, **tilted(names, 2.2 / len(clients)))
    left.tick_params(axis="y", labelsize=size)
    left.set_title("cosine between updates")
    _by_depth(right, pairs.assign(conflict=100 * pairs["sign_conflict"]), "conflict", (50, "chance"))
    right.set_title("entries whose signs conflict")
    right.set_ylabel("share of entries, %")
    right.set_xlabel("block of the visual tower   (band: ± sd over pairs and seeds)")
    return figure


def _by_depth(axes: Axes, frame: pd.DataFrame, column: str, level: tuple[float, str] | None = None) -> None:
    """One line per layer kind over depth, mean ± sd over the other rows, and a dashed one at `level`; names beside."""
    frame = placed(frame)
    labels = []
    if level:
        axes.axhline(level[0], color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8, zorder=1)
        labels.append((*level, MUTED))
    for index, (part, rows) in enumerate(frame.groupby("part", sort=False)):
        name, colour = KINDS.get(part, (short(part, 24), (*OTHERS, INK)[index % 6]))
        line = rows.groupby("depth")[column].agg(["mean", "std"])
        spread = line["std"].fillna(0)
        axes.fill_between(
            line.index, line["mean"] - spread, line["mean"] + spread, color=colour, alpha=0.13, linewidth=0
        )
        axes.plot(line.index, line["mean"], "o-", color=colour, markersize=2.8)
        labels.append((line["mean"].iloc[-1], name, colour))
    axes.xaxis.get_major_locator().set_params(integer=True)
    label_ends(axes, axes.get_xlim()[1], labels)
