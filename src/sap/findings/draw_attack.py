"""Figures `attack_curve` (accuracy against the attacker's weight) and `attack_heatmap` (attacks × defences)."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sap.findings.attack import INERT, attack_frame
from sap.findings.scenarios import (
    EVERYONE,
    Attackers,
    Chosen,
    anywhere,
    attacks,
    clients_of,
    common_seeds,
    effect_of,
    lacks,
    level,
    mean_of,
    owns,
    weighted,
)
from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.style import (
    COLOURS,
    FAINT,
    MUTED,
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

EMPTY_CURVE = "This experiment does not vary an attacker's weight."
EMPTY_MAP = "This experiment attacks no merge."
MARKED = {1 / 16: "product of means of 4", 1 / 4: "mean of 4", 1 / 3: "mean of 3", 1.0: ""}  # weights: who gives them
CLOSE = 0.07  # weights nearer to each other than this share one tick
MOST_DEFENCES = 16  # of the map; the table holds all

Lines = Mapping[str, tuple[Chosen, str]]  # name -> which cells it averages, colour


@figure("attack_curve", "Accuracy against the attacker's weight in the merge", "5 Attacks")
def draw_attack_curve(results: Results) -> Figure:
    """Accuracy against the attacker's weight in the merge, from 0 to 1 (the attacker alone): on the left on the
    held-out domain, on the right, where all domains are clients, on the attacker's own domain and on the others. Dotted
    lines mark the weights that common averages give one client, dashed is zero-shot: a curve that is flat up to its
    line is an attack that this average hides."""
    curves = {attack: curve for attack in attacks(results) if (curve := weighted(results, attack))}
    if not curves:
        return blank(EMPTY_CURVE)
    figure, axes = panels(len(curves), 2, (TWO_COLUMNS, 0.4 + 2.1 * len(curves)), sharey="row")
    parts: tuple[tuple[str | None, Lines], ...] = (
        (None, {"held-out domain": (anywhere, COLOURS["none"])}),
        (
            EVERYONE,
            {
                "attacker's domain": (owns(results), COLOURS["taylor_absolute"]),
                "other domains": (lacks(results), COLOURS["magnitude"]),
            },
        ),
    )
    for row, (attack, curve) in zip(axes, curves.items(), strict=True):
        labels = [
            _draw_lines(panel, results, curve, fold, lines) for panel, (fold, lines) in zip(row, parts, strict=True)
        ]
        for panel, (fold, _), ends in zip(row, parts, labels, strict=True):  # when both have taken their limits
            count = len(clients_of(results, fold or results.targets[0]))
            panel.set_title(f"{attack}: " + (f"all domains, {count} clients" if fold else f"held out, {count} clients"))
            _mark_weights(panel, list(curve))
            label_ends(panel, 1.02, ends)
        row[0].set_ylabel("accuracy, %")
    figure.supxlabel("weight of the attacker in the merge (1: the attacker alone)   band: 95 % interval", fontsize=7)
    return figure


@figure("attack_heatmap", "Points lost to every attack under every way to merge", "5 Attacks")
def draw_attack_heatmap(results: Results) -> Figure:
    """Points lost to each attack (rows) under each way to merge (columns; at most 16 that meet half of the attacks or
    more, the table has all): orange is a loss, blue a gain. In grey rows the attack is inert, the plain mean cannot be
    told from its clean twin, so no defence is credited there; hatched cells were not asked for."""
    frame = attack_frame(results)
    if frame.empty:
        return blank(EMPTY_MAP)
    rows = list(dict.fromkeys(frame["attack"]))
    columns = _columns(frame)
    found = frame.pivot_table(index="attack", columns="defence", values="impact", aggfunc="first", dropna=False)
    values = 100 * found.reindex(index=rows, columns=columns).to_numpy(dtype=float)
    state = frame.groupby("attack")["state"].first()
    inert = [name for name in rows if state[name] == INERT]
    names = [short(name, 30) for name in columns]
    figure, axes = panels(1, 1, (TWO_COLUMNS, 1.5 + 0.21 * len(rows)))
    panel = axes[0, 0]
    shown = values[[name not in inert for name in rows]]
    heatmap(panel, values, [short(name, 26) for name in rows], names, SPLIT.reversed(), around_zero(shown), size=5.5)
    for index in map(rows.index, inert):  # above the colours, below the hatches
        panel.add_patch(Rectangle((-0.5, index - 0.5), len(columns), 1, facecolor=FAINT, linewidth=0, zorder=0.5))
    for written in panel.texts:
        if rows[round(written.get_position()[1])] in inert:
            written.set_color(MUTED)
    panel.set_xticks(range(len(columns)), names, **tilted(names, 5.4 / len(columns)))
    for label in panel.get_yticklabels():
        label.set_color(MUTED if rows[round(label.get_position()[1])] in inert else "black")
    panel.set_title("points lost to the attack on the held-out domain   (grey rows: inert; hatched: not asked)")
    return figure


def _columns(frame: pd.DataFrame) -> list[str]:
    """The defences that meet at least half of the attacks, in the table's order."""
    met = frame.groupby("defence", sort=False)["attack"].nunique()
    return list(met.index[2 * met >= met.max()])[:MOST_DEFENCES]


def _draw_lines(
    axes: Axes, results: Results, curve: Mapping[float, Mapping[Attackers, str]], fold: str | None, lines: Lines
) -> list[tuple[float, str, str]]:
    """Draw the lines of one panel and zero-shot; returns their (end, name, colour)."""
    ends = []
    for name, (chosen, colour) in lines.items():
        effects = [
            effect_of(level(results, points, common_seeds(results, points.values()), fold, chosen))
            for points in curve.values()
        ]
        estimate, low, high = 100 * np.array([effect[:3] for effect in effects]).T
        axes.fill_between(list(curve), low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(list(curve), estimate, "o-", color=colour, markersize=2.8)
        ends.append((estimate[-1], name, colour))
    start = next(iter(results.of_kind("zero_shot")), None)
    twins = dict.fromkeys(next(iter(curve.values())), start)
    zero_shot = 100 * mean_of(level(results, twins, common_seeds(results, [start]), fold))
    axes.axhline(zero_shot, color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8, zorder=1)
    return [end for end in (*ends, (zero_shot, "zero-shot", MUTED)) if not np.isnan(end[0])]


def _mark_weights(axes: Axes, weights: Sequence[float]) -> None:
    """Ticks at the weights as fractions; dotted lines at MARKED, with what gives a client that weight."""
    for weight, giver in MARKED.items():
        axes.axvline(weight, color=MUTED, linestyle=":", linewidth=0.7, zorder=1)
        where = {"xytext": (2, 3), "textcoords": "offset points", "xycoords": axes.get_xaxis_transform()}
        axes.annotate(giver, (weight, 0), rotation=90, va="bottom", fontsize=5, color=MUTED, **where)
    written: list[float] = []
    for weight in sorted({*weights, *MARKED}, key=lambda weight: (weight not in MARKED, weight)):
        if all(abs(weight - other) > CLOSE for other in written):
            written.append(weight)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks(written, [str(Fraction(weight).limit_denominator(64)) for weight in written], fontsize=6)
