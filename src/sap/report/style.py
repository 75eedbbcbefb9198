"""One look for all figures: sizes, fonts, colour-blind-safe colours (Okabe-Ito), direct labels, missing cells."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation

matplotlib.use("Agg")  # no display on clusters

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches, the usual widths in two-column papers

INK, MUTED, FAINT = "#222222", "#6f6f6f", "#dddddd"
# Okabe & Ito (2008), one colour per criterion in every figure; floors and ceilings are grey and black.
COLOURS = {
    "none": "#0072B2",
    "taylor_absolute": "#D55E00",
    "taylor_signed": "#CC79A7",
    "magnitude": "#009E73",
    "random": "#E69F00",
}
OTHERS = ("#56B4E9", "#8C6D00", "#5E3C99", "#00441B", "#7F2704")
SPLIT = LinearSegmentedColormap.from_list("below-above", ["#B2500A", "#F3B98A", "#F7F7F7", "#92C5DE", "#05609E"])
SHARE = LinearSegmentedColormap.from_list("share", ["#F7F9FB", "#9CC7E2", "#3D88BD", "#0B3C6A"])
HATCH = "////"

_RC = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs, hence the same bytes, everywhere
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "hatch.color": "#b0b0b0",
    "text.color": INK,
    "text.parse_math": False,  # a domain may be called a$b$
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # embed TrueType: text stays text in the paper
    "svg.fonttype": "none",
}


@contextmanager
def styled() -> Iterator[None]:
    """Make and save figures inside this context; a user's own matplotlibrc cannot change our bytes."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def panels(rows: int, columns: int, size: tuple[float, float], **layout: object) -> tuple[Figure, np.ndarray]:
    """A figure of `size` inches (width, height) and its axes (rows, columns); `layout` goes to Figure.subplots."""
    figure = Figure(figsize=size)
    return figure, figure.subplots(rows, columns, squeeze=False, **layout)


def colour_of(criterion: str | None, criteria: Sequence[str] = ()) -> str:
    """The colour of a criterion, the same in every figure; unknown ones take further colours in order of `criteria`."""
    if criterion in COLOURS:
        return COLOURS[criterion]
    rest = [name for name in criteria if name not in COLOURS]
    return OTHERS[rest.index(criterion) % len(OTHERS)] if criterion in rest else MUTED


def ramp(n: int, colour: str = COLOURS["taylor_absolute"]) -> list[tuple[float, float, float]]:
    """`n` shades of one hue from light to dark, for ordered lines."""
    base = np.array(to_rgb(colour))
    light, dark = 0.45 * base + 0.55, 0.55 * base
    return [tuple(light + (dark - light) * (i / (n - 1) if n > 1 else 0.6)) for i in range(n)]


def blank(sentence: str) -> Figure:
    """A figure that says in one sentence why it shows nothing."""
    figure = Figure(figsize=(ONE_COLUMN, 0.8))
    figure.text(0.5, 0.5, sentence, ha="center", va="center", color=MUTED, style="italic", wrap=True)
    return figure


def spread(positions: Sequence[float], gap: float, low: float = -np.inf, high: float = np.inf) -> list[float]:
    """Positions moved as little as needed to be `gap` apart and inside [low, high], in the same order.

    Where they do not all fit, they fill [low, high] evenly.
    """
    gap = min(gap, (high - low) / max(len(positions) - 1, 1))
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    runs: list[tuple[float, int]] = []  # (mean, length): least squares under x[i] + gap <= x[i + 1]
    for value in np.asarray(positions, dtype=float)[order] - steps:
        runs.append((value, 1))
        while len(runs) > 1 and runs[-1][0] < runs[-2][0]:
            (b, m), (a, n) = runs.pop(), runs.pop()
            runs.append(((a * n + b * m) / (n + m), n + m))
    placed = np.empty(len(order))
    placed[order] = [value for value, length in runs for _ in range(length)]
    placed[order] = np.clip(placed[order], low, high - steps[-1:]) + steps
    return placed.tolist()


def label_ends(axes: Axes, x: float, labels: Sequence[tuple[float, str, object]], size: float = 6) -> None:
    """Write (y, text, colour) labels to the right of x, moved apart where they would overlap."""
    places = _label_places(axes, [y for y, _, _ in labels], size)
    for (_, text, colour), y in zip(labels, places, strict=True):
        style = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
        axes.annotate(text, (x, y), fontsize=size, color=colour, **style)


def label_points(axes: Axes, labels: Sequence[tuple[float, float, str, object]], size: float = 6) -> None:
    """Write the texts of (x, y, text, colour) points in a column right of the axes, joined by thin lines.

    x may be inf for a line that reaches the right edge. Call it last: it fixes the limits.
    """
    if not labels:
        return
    right = axes.get_xlim()[1]
    axes.set_xlim(right=right)
    labels = [(min(x, right), y, text, colour) for x, y, text, colour in labels]
    places = sorted(_label_places(axes, [y for _, y, _, _ in labels], size))
    in_axes = axes.transLimits.transform
    starts, ends = in_axes([(x, y) for x, y, _, _ in labels]), in_axes([(right, y) for y in places])
    ends[:, 0] = 1.07  # about where the column stands once the axes have their final width
    column = axes.get_yaxis_transform() + ScaledTranslation(14 / 72, 0, axes.figure.dpi_scale_trans)
    for (x, y, text, colour), place in zip(labels, _uncrossed(starts, ends), strict=True):
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.4, "alpha": 0.7, "shrinkA": 1, "shrinkB": 0}
        where = {"xytext": (1, places[place]), "textcoords": column, "va": "center", "annotation_clip": False}
        axes.annotate(
            text, (x, y), fontsize=size, color=colour, arrowprops=line | {"relpos": (0, 0.5)}, zorder=1, **where
        )


def _label_places(axes: Axes, positions: Sequence[float], size: float) -> list[float]:
    """Heights of labels of `size` points, apart from each other and inside the axes.

    The limits of y are fixed first: a later change would move lines away from their labels.
    """
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    rows = axes.get_subplotspec().get_gridspec().nrows
    height = 72 * (axes.figure.get_size_inches()[1] / rows - 0.55)  # points; titles and tick labels take the rest
    gap = (high - low) * size * 1.3 / height
    return spread(positions, gap, low + gap / 2, high - gap / 2)


def _uncrossed(starts: np.ndarray, ends: np.ndarray) -> list[int]:
    """The end for each start such that no two lines cross: no exchange of two ends shortens their total length."""
    length = np.linalg.norm(starts[:, None] - ends[None, :], axis=-1)
    chosen = np.argsort(np.argsort(starts[:, 1], kind="stable")).tolist()
    pairs = list(combinations(range(len(chosen)), 2))
    improved = True
    while improved:
        improved = False
        for i, j in pairs:
            a, b = chosen[i], chosen[j]
            if length[i, b] + length[j, a] < length[i, a] + length[j, b] - 1e-9:
                chosen[i], chosen[j], improved = b, a, True
    return chosen


def heatmap(
    axes: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: Colormap,
    norm: Normalize,
    form: str = "{:.1f}",
    size: float = 6.5,
) -> None:
    """Cells (R, C) with their numbers; NaN cells are hatched. Numbers are left out where cells get too small."""
    axes.grid(False)
    axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
    numbers = values.shape[0] <= 32 and values.shape[1] <= 16
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.add_patch(
                Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch=HATCH, edgecolor="#b0b0b0", linewidth=0)
            )
        elif numbers:
            dark = np.dot(colours(norm(value))[:3], (0.299, 0.587, 0.114)) < 0.55
            printed = form.format(value)
            if not float(printed):
                printed = form.replace("+", "").format(0.0)  # neither +0.0 nor −0.0
            printed = printed.replace("-", "−")
            axes.text(j, i, printed, ha="center", va="center", fontsize=size, color="white" if dark else INK)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(np.arange(-0.5, len(columns)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(rows)), minor=True)
    axes.grid(True, which="minor", color="white", linewidth=1 if values.size < 400 else 0.4)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def around_zero(values: np.ndarray, least: float = 1.0) -> TwoSlopeNorm:
    """A norm centred on zero and symmetric, at least ±`least` wide so that noise does not look like an effect."""
    finite = np.abs(values[~np.isnan(values)])
    bound = max(least, float(finite.max()) if finite.size else 0.0)
    return TwoSlopeNorm(0.0, -bound, bound)


def tilted(names: Sequence[str], room: float) -> dict[str, object]:
    """Rotation of tick labels where `room` inches per label are too few for the longest name, or for any slant."""
    if room < 0.22:
        return {"rotation": 90, "fontsize": 5}
    wide = max((len(name) for name in names), default=0) * 0.055 > room
    return {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if wide else {}


def short(text: str, length: int = 44) -> str:
    """A label without underscores; where it is longer than `length`, its middle becomes … (ends tell names apart)."""
    text = text.replace("_", " ")
    if len(text) <= length:
        return text
    tail = length // 3
    return f"{text[: length - 1 - tail].rstrip()}…{text[-tail:].lstrip()}"
