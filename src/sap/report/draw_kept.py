"""Figure `kept`: in which layers the saliency lies, and the entries that one threshold for the whole model keeps."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from sap.report.draw_diagnosis import KINDS, placed
from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.style import SPLIT, TWO_COLUMNS, blank, heatmap, panels, short

EMPTY = "This experiment holds no masks to look into (evidence.masks)."
WIDE = 8  # blocks: with more, one panel takes the whole width


@figure("kept", "Where in the network the kept entries lie", "3 Pruning")
def draw_kept(results: Results) -> Figure:
    """Saliency per entry, and the share of entries kept where one threshold cuts the whole visual tower, by kind of
    layer and block. Blue lies above an even share and orange below; means over clients and seeds.
    """
    kept, layers = results.evidence["kept"], results.layers
    if kept.empty:
        return blank(EMPTY)
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
