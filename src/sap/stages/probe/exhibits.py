"""What linear probes read from the features before and after pruning: an image's domain (its style), its class (C3)."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sap.io import load_tensors
from sap.report.exhibit import figure, table
from sap.report.frame import Results
from sap.report.outcomes import Array, draws_of
from sap.report.scores import APART, pruning, unpruned, variant, varying
from sap.report.style import COLOURS, MUTED, TWO_COLUMNS, blank, colour_of, label_ends, panels, short
from sap.report.table import Cell, Column, Table, effect_columns, interval, number, percent, text
from sap.stats.effect import DIFFERENCES, MISSING_EFFECT, Effect, crossed_effect
from sap.stats.summary import summarise

Outcomes = Mapping[str, list[Array]]  # point -> (S, n_d) per domain: 1 where the probe is right
PROBES = ("domain", "class")
BLIND = ("random", "magnitude")  # what pruning by saliency is compared with at the same ρ
SHARED = ("space", "scope", "unit", "count", "prune_top", "rescale", "rank", "scale", "control")
CONTROLS = {
    "none": "pruned",
    "restored": "pruned, at the unpruned merge's layer norms",
    "shrunk": "unpruned, at the pruned merge's layer norms",
}
EMPTY = "This experiment probes no features (points of the view `probe`)."
NOTES = (
    "Accuracy in percent of a linear probe that reads the domain, or the class, from the image features under the "
    "merge of all clients; mean ± sd over seeds, the same images for all points. Norm: of the merged update.",
    "Differences in points, 95 % interval over seeds and images (paired; domains fixed). Style is pruned where the "
    "domain falls and the class does not, beyond what random and magnitude pruning do at the same ρ.",
)
STATES = {"none": "pruned", "restored": "pruned, norms restored", "shrunk": "unpruned, at the pruned norms"}


def probe_effect(results: Results, point: str | None, reference: str | None, which: str) -> Effect:
    """Accuracy of the probe `which` (`domain` or `class`) under `point` minus under `reference`, a share.

    Seeds × test images × the anchor draws that were probed (a point without draws meets each of the other's). Missing
    where a point is None or was not probed at every seed.
    """
    return _effect(results, probe_outcomes(results, which), point, reference)


def probe_outcomes(results: Results, which: str) -> Outcomes:
    """1 where the probe `which` is right for each probed point: (S, n_d) per domain, NaN for a seed without a file."""
    seeds = {}
    for job, folder in results.jobs("probe"):
        arrays = load_tensors(folder / "probe.safetensors", "np")
        probed = results.files["probe", "probe"]["point"][results.files["probe", "probe"]["seed"] == job["seed"]]
        seeds[job["seed"]] = dict(zip(probed, arrays[which].astype(np.float64), strict=True))
        domains = arrays["domains"]  # the same images for every seed
    if not seeds:
        return {}
    missing = np.full(len(domains), np.nan)
    points = dict.fromkeys(point for found in seeds.values() for point in found)
    grids = {point: np.stack([seeds.get(seed, {}).get(point, missing) for seed in results.seeds]) for point in points}
    return {point: [grid[:, domains == domain] for domain in np.unique(domains)] for point, grid in grids.items()}


def probe_frame(results: Results) -> pd.DataFrame:
    """One row per probed point (one anchor draw of each), zero-shot and unpruned first.

    Columns: point, criterion (`zero-shot` for that point), prune_ratio (0 where nothing is pruned), control, variant,
    norm; domain and class (accuracy, with _sd over seeds), {probe}_chance; {probe}_change against the unpruned merge,
    {probe}_random and {probe}_magnitude against these criteria at the same ρ and control, each with _low and _high;
    seeds, images.
    """
    outcomes = {which: probe_outcomes(results, which) for which in PROBES}
    points = [point for point in results.points.index if point in outcomes["domain"]]
    points = [point for point in points if _draws(results, point, points)[0] == point]
    extra = varying(results, points, APART)
    chance = _chances(results)
    rows = results.files["probe", "probe"]
    records = []
    for point in points:
        settings = results.points.loc[point]
        merge = settings["kind"] == "merge"
        pruned = merge and settings["criterion"] != "none"
        record = {
            "point": point,
            "criterion": settings["criterion"] if merge else settings["label"],
            "prune_ratio": float(settings["prune_ratio"]) if pruned else 0.0,
            "control": settings["control"] if merge else "none",
            "variant": variant(settings, extra) if pruned else "",
            "norm": rows.loc[rows["point"] == point, "norm"].mean(),
        }
        references = {"change": unpruned(results, point) if pruned else None}
        references |= {name: _same_ratio(results, point, points, name) if pruned else None for name in BLIND}
        for which in PROBES:
            cells = outcomes[which][point]
            total = summarise(np.mean([cell.mean(axis=1) for cell in cells], axis=0))
            record |= {which: total.mean, f"{which}_sd": total.sd, f"{which}_chance": chance[which]}
            for name, reference in references.items():
                record |= effect_columns(f"{which}_{name}", _effect(results, outcomes[which], point, reference))
        records.append(record | {"seeds": len(results.seeds), "images": sum(cell.shape[1] for cell in cells)})
    frame = pd.DataFrame(records)
    if frame.empty:
        return frame
    order = list(frame.sort_values("prune_ratio", kind="stable")["criterion"].unique())
    ranked = frame.assign(cut=frame["prune_ratio"] > 0, rank=frame["criterion"].map(order.index))
    keys = ["cut", "control", "variant", "prune_ratio", "rank"]
    return ranked.sort_values(keys, kind="stable", ignore_index=True).drop(columns=["cut", "rank"])


@table("probe", "What linear probes read from the features: domain and class", "4 Updates and merges", reads=("probe",))
def probe_table(results: Results) -> Table:
    """Can a linear probe still read the domain, or the class, from the image features after pruning? Low-saliency
    entries carry style where the domain falls, the class stays, and both beat random and magnitude pruning at the same
    ρ."""
    frame = probe_frame(results)
    if not frame.empty:
        frame.insert(0, "section", [_section(row) for _, row in frame.iterrows()])
    columns = [
        Column("pruning", lambda row: pruning(row["criterion"], row["prune_ratio"])),
        *([Column("variant", text("variant"))] if len(frame) and frame["variant"].any() else []),
        Column("norm", number("norm", "{:.3g}")),
    ]
    for which in PROBES:
        columns += [
            Column(which, percent(which, f"{which}_sd")),
            Column("vs unpruned", _difference(f"{which}_change")),
            *(Column(f"vs {name}", _difference(f"{which}_{name}")) for name in BLIND),
        ]
    columns.append(Column("n", lambda row: f"{row['images']} × {row['seeds']}"))
    notes: tuple[str, ...] = NOTES
    if not frame.empty:
        chances = " and ".join(f"{100 * frame[f'{which}_chance'].iloc[0]:.1f} % for the {which}" for which in PROBES)
        notes = (*NOTES, f"Chance (always the most frequent answer): {chances}. n: test images of all domains × seeds.")
    return Table(frame, columns, EMPTY, section="section", notes=notes)


def _effect(results: Results, outcomes: Outcomes, point: str | None, reference: str | None) -> Effect:
    if point is None or reference is None:
        return MISSING_EFFECT
    own, other = (_draws(results, chosen, outcomes) for chosen in (point, reference))
    if not own or not other:
        return MISSING_EFFECT
    if len(own) > 1 and len(other) > 1:
        own, other = own[: len(other)], other[: len(own)]
    sides = [
        [np.stack(cells) for cells in zip(*(outcomes[draw] for draw in side), strict=True)] for side in (own, other)
    ]
    return crossed_effect([a - b for a, b in zip(*sides, strict=True)], DIFFERENCES)


def _draws(results: Results, point: str, probed: Collection[str]) -> list[str]:
    return [draw for draw in draws_of(results.points, point) if draw in probed]


def _same_ratio(results: Results, point: str, points: Collection[str], criterion: str) -> str | None:
    """The probed point that prunes by `criterion` and is else the same, but for the anchors; None: itself or absent."""
    settings = results.points.loc[list(points)]
    if settings.loc[point, "criterion"] == criterion:
        return None
    shared = settings[["attack", "merge_key", "prune_ratio", *SHARED]].map(str)
    same = (settings["criterion"] == criterion) & shared.eq(shared.loc[point]).all(axis=1)
    return next(iter(settings.index[same]), None)


def _chances(results: Results) -> dict[str, float]:
    """Accuracy of always naming the most frequent domain (class) of the probed test images."""
    for _, folder in results.jobs("probe"):
        arrays = load_tensors(folder / "probe.safetensors", "np")
        truths = {"domain": arrays["domains"], "class": arrays["labels"]}
        return {name: float(np.bincount(truth).max() / len(truth)) for name, truth in truths.items()}
    return dict.fromkeys(PROBES, np.nan)


def _difference(name: str) -> Cell:
    """The effect; – where there is nothing to compare: no pruning, or the criterion with itself."""

    def cell(row: pd.Series) -> str:
        itself = not row["prune_ratio"] or name.endswith(f"_{row['criterion']}")
        return "–" if itself else interval(name)(row)

    return cell


def _section(row: pd.Series) -> str:
    if not row["prune_ratio"]:
        return "nothing pruned"
    return CONTROLS[row["control"]]


@figure("probe", "What linear probes read from the features: domain and class", "4 Updates and merges")
def draw_probe(results: Results) -> Figure:
    """Accuracy of linear probes for the domain (left) and for the class (right) against the prune ratio, one line per
    criterion. Horizontal lines are the unpruned merge and zero-shot; pruning of style alone bends the left lines down
    and not the right ones."""
    frame = probe_frame(results)
    pruned = frame[frame["prune_ratio"] > 0] if len(frame) else frame
    if pruned.empty:
        return blank(EMPTY)
    groups = list(pruned.groupby(["control", "variant"], sort=False))
    criteria = list(pruned["criterion"].unique())
    figure, axes = panels(len(groups), 2, (TWO_COLUMNS, 0.4 + 2.0 * len(groups)), sharex=True, sharey="col")
    labels = {}
    for row, ((control, extra), group) in zip(axes, groups, strict=True):
        for panel, which in zip(row, PROBES, strict=True):
            labels[panel] = _references(panel, frame[frame["prune_ratio"] == 0], which)
            labels[panel] += _curves(panel, group, criteria, which)
            panel.set_title(short(f"{which}: {STATES[control]}" + (f", {extra}" if extra else ""), 48))
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
