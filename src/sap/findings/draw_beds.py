"""Bed against bed: one mark per row, so that a turned order is seen as a falling cloud."""

import numpy as np
from matplotlib.figure import Figure

from sap.findings.beds import CHOSEN, EMPTY, FIXED, bed_rows
from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.style import COLOURS, INK, MUTED, ONE_COLUMN, blank, label_points, panels, short

BEST = 2  # of each bed and of both together that have a label, beside the worst


@figure("regret", "Every row on two beds", "2 Accuracy")
def draw_regret(results: Results) -> Figure:
    """Accuracy of every row on this bed against its accuracy on the first other bed; the line is the λ path of the
    unpruned mean, from zero-shot to the largest λ. What lies up and to the right of the line is better than shrinking
    or stretching the mean on both beds; rules that choose are filled dark."""
    beds = results.beds
    if len(beds) < 2:
        return blank(EMPTY)
    first, second = (bed_rows(bed) for bed in (beds[0], beds[-1]))
    shown = {
        label: (100 * row.accuracy, 100 * second[label].accuracy, row.section)
        for label, row in first.items()
        if row.section in (CHOSEN, FIXED) and label in second and row.correct and second[label].correct
    }
    drawn, axes = panels(1, 1, (ONE_COLUMN * 1.6, 3.4))
    panel = axes.flat[0]
    path = _path(beds[0], first, second)
    panel.plot(*path.T, "-", color=COLOURS["none"], linewidth=1, zorder=1)
    for x, y, section in shown.values():
        colour = INK if section == CHOSEN else MUTED
        face = INK if section == CHOSEN else "white"
        panel.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=3.2, zorder=3)
    panel.set_xlabel(f"accuracy on {beds[0].plan.experiment}, %")
    panel.set_ylabel(f"accuracy on {beds[-1].plan.experiment}, %")
    label_points(panel, [(x, y, short(label, 34), INK) for label, (x, y, _) in _at_the_edge(shown).items()])
    return drawn


def _path(results: Results, first: dict, second: dict) -> np.ndarray:
    """(λ, 2) accuracies in percent along the λ path of the view `path`, λ ascending."""
    points = results.points.loc[results.in_view("path")].sort_values("scale", kind="stable")
    labels = [label for label in points["label"] if label in first and label in second]
    return 100 * np.array([(first[label].accuracy, second[label].accuracy) for label in labels]).reshape(-1, 2)


def _at_the_edge(shown: dict[str, tuple[float, float, str]]) -> dict[str, tuple[float, float, str]]:
    """The best and the worst of each bed, and of both together."""
    outer = list[str]()
    places = np.array([(x, y, x + y) for x, y, _ in shown.values()])
    for sums in places.T:
        order = [list(shown)[place] for place in np.argsort(sums, kind="stable")]
        outer += [*order[-BEST:], order[0]]
    return {label: shown[label] for label in dict.fromkeys(outer)}
