"""Figure `probe`: what linear probes read from the features against ρ, the domain and the class."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.probes import EMPTY, PROBES, probe_frame
from sap.report.style import COLOURS, MUTED, TWO_COLUMNS, blank, colour_of, label_ends, panels, short

STATES = {"none": "pruned", "restored": "pruned, norms restored", "shrunk": "unpruned, at the pruned norms"}


@figure("probe", "What linear probes read from the features: domain and class", "4 Updates and merges")
def draw_probe(results: Results) -> Figure:
    """Accuracy of linear probes for the domain (left) and for the class (right) against the prune ratio, one line per
    criterion. Horizontal lines are the unpruned merge and zero-shot; pruning of style alone bends the left lines down
    and not the right ones.
    """
    frame = probe_frame(results)
    pruned = frame[frame["prune_ratio"] > 0] if len(frame) else frame
    if pruned.empty:
        return blank(EMPTY)
    groups = list(pruned.groupby(["control", "variant"], sort=False))
    criteria = list(pruned["criterion"].unique())
    figure, axes = panels(len(groups), 2, (TWO_COLUMNS, 0.4 + 2.0 * len(groups)), sharex=True, sharey="col")
    labels = {}
    for row, ((control, variant), group) in zip(axes, groups, strict=True):
        for panel, which in zip(row, PROBES, strict=True):
            labels[panel] = _references(panel, frame[frame["prune_ratio"] == 0], which)
            labels[panel] += _curves(panel, group, criteria, which)
            panel.set_title(short(f"{which}: {STATES[control]}" + (f", {variant}" if variant else ""), 48))
        row[0].set_ylabel("accuracy of the probe, %")
    for panel, found in labels.items():  # once all panels are drawn: columns share the limits of y
        panel.set_xticks(sorted(pruned["prune_ratio"].unique()))
        label_ends(panel, panel.get_xlim()[1], found)
    chances = ", ".join(f"{which} {100 * frame[f'{which}_chance'].iloc[0]:.3g} %" for which in PROBES)
    figure.supxlabel(f"prune ratio ρ   (bars: ± sd over seeds; chance: {chances})", fontsize=7)
    return figure


def _references(axes: Axes, frame: pd.DataFrame, which: str) -> list[tuple[float, str, str]]:
    labels = []
    for _, row in frame.iterrows():
        name = "unpruned" if row["criterion"] == "none" else row["criterion"]
        colour = COLOURS["none"] if row["criterion"] == "none" else MUTED
        dash = "solid" if row["criterion"] == "none" else (0, (3, 2))
        axes.axhline(100 * row[which], color=colour, linestyle=dash, linewidth=0.9, zorder=1)
        labels.append((100 * row[which], short(name, 18), colour))
    return [label for label in labels if not np.isnan(label[0])]


def _curves(axes: Axes, frame: pd.DataFrame, criteria: list[str], which: str) -> list[tuple[float, str, str]]:
    labels = []
    apart = 0.015 * (
        frame["prune_ratio"].max() - frame["prune_ratio"].min()
    )  # bars beside each other, not one above the other
    for index, (criterion, line) in enumerate(frame.groupby("criterion", sort=False)):
        line, colour = line.sort_values("prune_ratio"), colour_of(criterion, criteria)
        values, sd = 100 * line[which], 100 * line[f"{which}_sd"].fillna(0)
        axes.errorbar(
            line["prune_ratio"] + apart * index, values, sd, fmt="o-", color=colour, markersize=3, elinewidth=0.8
        )
        labels.append((values.iloc[-1], short(criterion, 18), colour))
    return [label for label in labels if not np.isnan(label[0])]
