"""Figure `towers`: how far the clients' updates agree in the visual and in the text tower, layer by layer."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.draw_diagnosis import KINDS, placed
from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.style import COLOURS, MUTED, TWO_COLUMNS, blank, label_ends, panels, short
from sap.report.towers import EMPTY, TOWERS

SHOWN = (("cosine", "cosine", 1), ("sign_conflict", "conflicting signs, %", 100), ("angle", "principal angle, °", 1))
SHADES = {"visual": COLOURS["taylor_absolute"], "text": COLOURS["none"]}
DASHED = {"linestyle": (0, (3, 2)), "linewidth": 0.8, "zorder": 1}


@figure("towers", "Where the clients' updates conflict: visual against text tower", "4 Updates and merges")
def draw_towers(results: Results) -> Figure:
    """Cosine, sign conflict and principal angle between the updates of two clients, layer by layer, visual (orange) and
    text (blue) tower. Dashed lines are chance: two unrelated updates; a tower farther from chance holds clients that
    agree more.
    """
    towers = results.evidence["towers"]
    if towers.empty:
        return blank(EMPTY)
    towers = placed(towers)
    kinds = list(towers["part"].unique())
    figure, axes = panels(len(kinds), len(SHOWN), (TWO_COLUMNS, 0.6 + 1.25 * len(kinds)), sharex=True, sharey="col")
    for row, kind in zip(axes, kinds, strict=True):
        own = towers[towers["part"] == kind]
        for panel, (quantity, title, factor) in zip(row, SHOWN, strict=True):
            _lines(panel, own, quantity, factor)
            if kind == kinds[0]:
                panel.set_title(title)
        row[0].set_ylabel(KINDS.get(kind, (short(kind, 24),))[0])
    for row, kind in zip(axes, kinds, strict=True):  # once all panels are drawn: columns share the limits of y
        own = towers[towers["part"] == kind].groupby(["tower", "depth"])["angle"].mean()
        ends = [(own.loc[tower].iloc[-1], tower, SHADES[tower]) for tower in TOWERS if tower in own.index]
        label_ends(row[-1], row[-1].get_xlim()[1], ends)
    axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel(
        "block of the tower (0 is next to the input)   bands: ± sd over seeds and pairs of clients   dashed: chance",
        fontsize=7,
    )
    return figure


def _lines(axes: Axes, rows: pd.DataFrame, quantity: str, factor: float) -> None:
    for tower, own in rows.groupby("tower"):
        line = factor * own.groupby("depth")[quantity].agg(["mean", "std"])
        spread, colour = line["std"].fillna(0), SHADES[tower]
        axes.fill_between(
            line.index, line["mean"] - spread, line["mean"] + spread, color=colour, alpha=0.13, linewidth=0
        )
        axes.plot(line.index, line["mean"], "o-", color=colour, markersize=2.8)
        if quantity == "angle":
            chance = own.groupby("depth")["chance_angle"].mean()
            # The dashes of one tower fill the other's gaps: where both chances are equal, both colours show.
            dashes = (3 * TOWERS.index(tower), (3, 3))
            axes.plot(chance.index, chance, color=colour, **DASHED | {"linestyle": dashes, "dash_capstyle": "butt"})
    if quantity != "angle":
        axes.axhline({"cosine": 0, "sign_conflict": 50}[quantity], color=MUTED, **DASHED)
