"""Do the clients' visual updates conflict more than their text updates? From clients that adapted both towers (C1)."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.exhibit import figure, table
from sap.report.frame import Results
from sap.report.layers import KINDS, placed
from sap.report.style import COLOURS, MUTED, TWO_COLUMNS, blank, label_ends, panels, short
from sap.report.table import Cell, Column, Table, effect_columns, interval, number, spread
from sap.stats.effect import MISSING_EFFECT, Effect, crossed_effect
from sap.stats.pairs import member_values
from sap.stats.summary import summarise

TOWERS = ("visual", "text")
QUANTITIES = {  # column of `common_layers` -> (name, format, factor, unit)
    "cosine": ("cosine", "{:.3f}", 1, ""),
    "sign_conflict": ("entries whose signs conflict", "{:.1f}", 100, "%"),
    "weighted_conflict": ("the same, weighted by their product", "{:.1f}", 100, "%"),
    "angle": ("principal angle", "{:.1f}", 1, "°"),
    "angle_excess": ("principal angle − chance", "{:.1f}", 1, "°"),
}
EMPTY = "This experiment trains no clients on both towers (evidence.towers)."
NOTES = (
    "Between the updates of each pair of clients, mean over pairs, seeds and the layers that both towers have (same "
    "kind and block), ± sd over seeds. Chance: two unrelated updates have cosine 0, conflict in 50 % of their signs, "
    "and have the angle of random subspaces of the same sizes (visual / text where they differ).",
    "visual − text: 95 % interval over seeds and clients, in the unit of the row; the clients are a sample here, and "
    "pairs that share one are not taken as independent. Detectable: the smallest difference that a two-sided 5 % test "
    "finds with 80 % power.",
)
SHOWN = (("cosine", "cosine", 1), ("sign_conflict", "conflicting signs, %", 100), ("angle", "principal angle, °", 1))
SHADES = {"visual": COLOURS["taylor_absolute"], "text": COLOURS["none"]}
DASHED = {"linestyle": (0, (3, 2)), "linewidth": 0.8, "zorder": 1}


def common_layers(results: Results) -> pd.DataFrame:
    """The rows of towers.csv for layers that both towers have, with `place`, the layer's name below its tower, and
    `angle_excess`, the principal angle minus its chance: towers of unequal widths have unequal chances."""
    towers = results.files["compare_towers", "towers"]
    if towers.empty:
        return towers
    towers = towers.assign(
        place=towers["layer"].str.removeprefix("visual."), angle_excess=towers["angle"] - towers["chance_angle"]
    )
    both = towers.groupby("place")["tower"].nunique() == len(TOWERS)
    return towers[towers["place"].map(both)]


def towers_effect(results: Results, quantity: str = "sign_conflict") -> Effect:
    """visual − text of a column of `common_layers` (cosine, shares, degrees), seeds × clients.

    Layers are averaged first, pairs become clients by sap.stats.pairs.
    `images` counts the clients. Missing with fewer than three clients, or where a pair, seed or number is absent.
    """
    rows = common_layers(results)
    if rows.empty:
        return MISSING_EFFECT
    means = rows.groupby(["tower", "seed", "client_a", "client_b"])[quantity].agg(_mean)
    pairs = list(combinations(dict.fromkeys([*rows["client_a"], *rows["client_b"]]), 2))
    if len(pairs) < 3:
        return MISSING_EFFECT
    visual, text_tower = (_by_pair(means.loc[tower], pairs, results.seeds) for tower in TOWERS)
    return crossed_effect([member_values(visual - text_tower, pairs)[None]])


def towers_frame(results: Results) -> pd.DataFrame:
    """One row per quantity: visual, text (with _sd over seeds), chance of both, difference with interval, n.

    Cosines and shares as they are, angles in degrees. Columns: quantity, visual, visual_sd, text, text_sd,
    visual_chance, text_chance, difference, difference_low, difference_high, p_greater, detectable, seeds, clients,
    pairs, layers (of one tower).
    """
    rows = common_layers(results)
    records = []
    for quantity in QUANTITIES if len(rows) else ():
        effect = towers_effect(results, quantity)
        record: dict[str, Any] = {"quantity": quantity}
        for tower in TOWERS:
            own = rows[rows["tower"] == tower]
            total = summarise(own.groupby("seed")[quantity].agg(_mean))
            chance = {"cosine": 0.0, "angle": own["chance_angle"].mean(), "angle_excess": 0.0}.get(quantity, 0.5)
            record |= {tower: total.mean, f"{tower}_sd": total.sd, f"{tower}_chance": chance}
        records.append(
            record
            | effect_columns("difference", effect)
            | {
                "p_greater": effect.p_greater,
                "detectable": effect.detectable,
                "seeds": rows["seed"].nunique(),
                "clients": len({*rows["client_a"], *rows["client_b"]}),
                "pairs": len(rows[["client_a", "client_b"]].drop_duplicates()),
                "layers": rows["place"].nunique(),
            }
        )
    return pd.DataFrame(records)


@table("towers", "Where the clients' updates conflict: visual against text tower", "4 Updates and merges", reads=())
def towers_table(results: Results) -> Table:
    """How far the updates of two clients agree in each tower of clients that adapted both; layers that both towers have
    are averaged. A claim that text is the stable anchor needs visual − text above zero for conflicts and angles, below
    zero for the cosine."""
    columns = [
        Column("between clients", lambda row: QUANTITIES[row["quantity"]][0]),
        Column("unit", lambda row: QUANTITIES[row["quantity"]][3] or "–"),
        Column("visual", _in_unit(lambda form, factor: spread("visual", form, factor))),
        Column("text", _in_unit(lambda form, factor: spread("text", form, factor))),
        Column("chance", _in_unit(_chance)),
        Column("visual − text", _in_unit(lambda form, factor: interval("difference", form, factor))),
        Column("detectable", _in_unit(lambda form, factor: number("detectable", form, factor))),
        Column("n", lambda row: f"{row['clients']} clients × {row['seeds']} seeds, {row['layers']} layers"),
    ]
    return Table(towers_frame(results), columns, EMPTY, notes=NOTES)


def _by_pair(means: pd.Series, pairs: list[tuple[str, str]], seeds: list[int]) -> np.ndarray:
    """(S, P) from a series by (seed, client_a, client_b), whichever client came first; NaN where absent."""
    found = means.to_dict()
    return np.array([[found.get((s, a, b), found.get((s, b, a), np.nan)) for a, b in pairs] for s in seeds])


def _mean(values: pd.Series) -> float:
    return values.mean(skipna=False)


def _in_unit(cell: Callable[[str, float], Cell]) -> Cell:
    return lambda row: cell(*QUANTITIES[row["quantity"]][1:3])(row)


def _chance(form: str, factor: float) -> Cell:
    def cell(row: pd.Series) -> str:
        printed = [form.format(row[f"{tower}_chance"] * factor) for tower in TOWERS]
        return " / ".join(dict.fromkeys(printed))

    return cell


@figure("towers", "Where the clients' updates conflict: visual against text tower", "4 Updates and merges")
def draw_towers(results: Results) -> Figure:
    """Cosine, sign conflict and principal angle between the updates of two clients, layer by layer, visual (orange) and
    text (blue) tower. Dashed lines are chance: two unrelated updates; a tower farther from chance holds clients that
    agree more."""
    towers = results.files["compare_towers", "towers"]
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
