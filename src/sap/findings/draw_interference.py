"""Figure `interference`: what each client alone does to every domain, and how far the updates conflict."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sap.findings.transfer import client_matrix_frame
from sap.report.exhibit import figure
from sap.report.frame import Results
from sap.report.style import INK, SPLIT, TWO_COLUMNS, around_zero, blank, heatmap, panels, short, tilted

EMPTY = "This experiment evaluates no single client and compares no updates."
UNRELATED = 50.0  # %: half of the signs of two unrelated updates conflict


@figure("interference", "What each client does to every domain, and how far updates conflict", "4 Updates and merges")
def draw_interference(results: Results) -> Figure:
    """Left: accuracy of each client alone minus zero-shot on every domain; what a client gains at home it may cost
    elsewhere. Right: how far the signs of two updates conflict, weighted by size, where 50 % is what unrelated updates
    show."""
    matrix, pairs = client_matrix_frame(results), results.files["diagnose", "agreement"]
    clients = [name for name in matrix["client"] if name in results.client_domains] if len(matrix) else []
    paired = {*pairs["client_a"], *pairs["client_b"]} if len(pairs) else set()
    compared = [name for name in results.client_domains if name in paired]
    if not clients and not compared:
        return blank(EMPTY)
    height = 1.0 + max(1.3, 0.2 * max(len(clients), len(compared)))
    figure, axes = panels(1, 2, (TWO_COLUMNS, height), width_ratios=(1, 1))
    left, right = axes[0]
    _transfer(left, matrix, clients, results.domains)
    _conflict(right, pairs, compared)
    return figure


def _transfer(axes: Axes, matrix: pd.DataFrame, clients: list[str], domains: list[str]) -> None:
    if not clients or "zero-shot" not in set(matrix["client"]):
        axes.set_axis_off()
        return
    values = 100 * matrix.set_index("client")[[f"accuracy__{domain}" for domain in domains]].astype(float)
    change = (values.loc[clients] - values.loc["zero-shot"]).to_numpy()
    names, columns = [short(name, 18) for name in clients], [short(domain, 16) for domain in domains]
    size = 6.5 if len(domains) <= 6 else 5
    heatmap(axes, change, names, columns, SPLIT, around_zero(change), "{:+.1f}", size)
    axes.set_xticks(range(len(domains)), columns, **tilted(columns, 2.4 / len(domains)))
    trained = matrix.set_index("client")["trained_on"]
    for row, client in enumerate(clients):
        for domain in set(trained[client].split("+")) & set(domains):
            place = (domains.index(domain) - 0.47, row - 0.45)
            axes.add_patch(Rectangle(place, 0.94, 0.9, fill=False, edgecolor=INK, linewidth=1))
    axes.set_title("client alone − zero-shot, points")
    axes.set_xlabel("tested on   (framed: the client's own domain)")
    axes.set_ylabel("client")


def _conflict(axes: Axes, pairs: pd.DataFrame, clients: list[str]) -> None:
    if not clients:
        axes.set_axis_off()
        return
    values = pd.DataFrame(np.nan, index=clients, columns=clients)
    for (a, b), value in pairs.groupby(["client_a", "client_b"])["weighted_conflict"].mean().items():
        values.loc[a, b] = values.loc[b, a] = 100 * value
    numbers, names = values.to_numpy(copy=True), [short(name, 18) for name in clients]
    np.fill_diagonal(numbers, UNRELATED)  # no colour: a client with itself
    bound = max(5.0, np.nanmax(np.abs(numbers - UNRELATED)))
    norm = TwoSlopeNorm(UNRELATED, UNRELATED - bound, UNRELATED + bound)
    heatmap(axes, numbers, names, names, SPLIT.reversed(), norm, "{:.0f}", 6.5 if len(clients) <= 6 else 5)
    for text in [text for text in axes.texts if text.get_position()[0] == text.get_position()[1]]:
        text.remove()
    if not axes.texts:  # too many clients for numbers
        axes.figure.colorbar(axes.images[0], ax=axes, shrink=0.5, aspect=30).outline.set_visible(False)
    axes.set_xticks(range(len(clients)), names, **tilted(names, 2.4 / len(clients)))
    axes.set_title("conflicting signs, weighted by size, %")
    axes.set_xlabel("mean over layers and seeds   (50: unrelated)")
