"""Is there room above zero-shot, and how small an effect could be seen? From the `headroom` jobs alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sap.io import load_tensors
from sap.report.exhibit import figure, table
from sap.report.frame import Results
from sap.report.style import COLOURS, INK, MUTED, TWO_COLUMNS, blank, panels, short
from sap.report.table import Column, Table, effect_columns, interval, mean_sd, number, percent, points_of, text
from sap.stages.headroom.copies import copies_notes
from sap.stages.headroom.words import words_notes
from sap.stats.bed import READING, kind_of_bed
from sap.stats.effect import ANSWERS, DIFFERENCES, Effect, crossed_effect
from sap.stats.paired import detectable_difference
from sap.stats.ties import at_least, largest

EMPTY = "This experiment holds no headroom (no job of evidence.headroom is done)."
CEILINGS = ("pooled", "oracle")
TERCILES = ("low", "middle", "high")
JUDGED = ("zero_shot", *CEILINGS)
BY_SEED = (*CEILINGS, "reachable", "scale")  # what a job knows of its own seed alone
ALL = "all domains"
BETWEEN_MERGES = "Merges of the same clients often differ on fewer images: what could be seen there, the claims say."
NOTES = (
    "Accuracy in percent on each domain's test images, [95 % interval] over seeds and images. Linear probe: on frozen "
    "features of the domain's training images. Pooled: one LoRA on all other domains' images; oracle: on its own.",
    "Transfer: pooled minus zero-shot, in points; what the sources teach about a domain that nobody held. "
    "Room: the better of pooled and oracle minus zero-shot, in points: no federation reaches it. Reachable: the pooled "
    "update at the λ that is best on the sources' validation images, minus zero-shot; nothing of the target is read. "
    "At λ: the mean of what was chosen. Terciles: accuracy on the third of the images that zero-shot aligns worst / in "
    "between / best with their true class (cosine).",
    "Differ: images that either zero-shot or pooled gets right. Detectable: smallest difference that a two-sided 5 % "
    "test finds with 80 % power between two models that differ so: one run, by McNemar's test; all, over the seeds.",
    BETWEEN_MERGES,
    "An effect of x points can be shown where the detectable difference is at most x, and the room is above x and at "
    "least twice that difference.",
)
Arrays = dict[str, NDArray]
LOOKS = {  # column -> (name, colour, marker)
    "zero_shot": ("zero-shot", MUTED, "o"),
    "probe": ("linear probe on frozen features", COLOURS["random"], "s"),
    "pooled": ("pooled (all other domains)", COLOURS["none"], "^"),
    "oracle": ("oracle (the domain itself)", INK, "D"),
}
COLUMNS = 4  # panels side by side, at most


def read_headroom(results: Results) -> dict[str, Arrays]:
    """domain -> what its jobs wrote, as float64, with "pooled", "oracle" and "reachable" (S, n) and "scale" (S, 1); NaN
    where a seed's job is not done.

    The other arrays do not depend on the seed (sap.stages.headroom.run). Domains without a job that is done are absent.
    """
    done = {(job["domain"], job["seed"]): folder for job, folder in results.jobs("headroom")}
    jobs = results.planned("headroom")
    found: dict[str, Arrays] = {}
    for domain in dict.fromkeys(domain for domain, _ in done):
        seeds = [job["seed"] for job in jobs if job["domain"] == domain]
        read = [
            load_tensors(done[domain, seed] / "headroom.safetensors", framework="np")
            if (domain, seed) in done
            else None
            for seed in seeds
        ]
        first = next(arrays for arrays in read if arrays is not None)
        by_seed = {
            kind: np.stack([np.full(first[kind].size, np.nan) if a is None else a[kind].ravel() for a in read])
            for kind in BY_SEED
        }
        found[domain] = {name: array.astype(np.float64) for name, array in (first | by_seed).items()}
    return found


def headroom_frame(results: Results) -> pd.DataFrame:
    """One row per domain with a job that is done, then `all domains` (their mean) once none lacks; shares in [0, 1].

    domain, n, zero_shot, probe, pooled, oracle, room, transfer and reachable with _low and _high; scale, the mean of λ;
    of zero_shot, pooled and oracle by tercile NAME__low, NAME__middle, NAME__high; differ (share of images that
    zero-shot or pooled alone gets right), detectable_mcnemar, detectable; seeds; shows (the plan's margin can be
    shown), sentence; bed (sap.stats.bed).
    """
    found = read_headroom(results)
    margin = results.plan.margin
    records = [_record(domain, [arrays], margin) for domain, arrays in found.items()]
    planned = {job["domain"] for job in results.planned("headroom")}
    if len(found) == len(planned) > 1:
        records.append(_record(ALL, list(found.values()), margin))
    return pd.DataFrame(records)


def terciles(alignment: NDArray) -> list[NDArray]:
    """Indices of the images in the lowest, middle and highest third of `alignment` (n,)."""
    return np.array_split(np.argsort(alignment, kind="stable"), len(TERCILES))


def can_show(x: float, room: float, detectable: float) -> bool:
    """True where an effect of `x` could be found, and the room leaves space for one; all shares."""
    return at_least(x, detectable) and not at_least(x, room) and at_least(room, 2 * detectable)


def sentence(domain: str, x: float, room: float, detectable: float) -> str:
    """`sketch: this data set can / cannot show an effect of 1 point`, and why not."""
    if np.isnan(room) or np.isnan(detectable):
        return f"{domain}: not known yet; its trainings are not all done."
    shown = can_show(x, room, detectable)
    said = f"{domain}: this data set {'can' if shown else 'cannot'} show an effect of {points_of(x)}"
    facts = f"room {100 * room:.1f}, smallest difference that would be found {100 * detectable:.1f}"
    if shown:
        return f"{said} ({facts})."
    least = max(detectable, x)
    if can_show(least, room, detectable):
        return f"{said} ({facts}); one of {100 * least:.1f} points it can."
    return f"{said} ({facts}), nor a larger one: that would need a room of {100 * max(2 * detectable, x):.1f}."


def bed_sentence(row: Mapping[str, Any]) -> str:
    """What kind of bed a row of `headroom_frame` is, and what follows for the reading of the tables."""
    if np.isnan(row["transfer"]):
        return f"{row['domain']}: whether the sources transfer is not known yet; its trainings are not all done."
    facts = f"pooled training on the sources changes zero-shot by {interval('transfer')(row)} points"
    reach = f"with λ chosen on the sources it stands {interval('reachable')(row)} from zero-shot"
    return f"{row['domain']}: {row['bed']} ({facts}; {reach}). {READING[row['bed']]}"


@table(
    "headroom",
    "Room above zero-shot, and the smallest effect that could be seen",
    "1 Claims",
    reads=("headroom",),
    stage="headroom_table",
)
def headroom_table(results: Results) -> Table:
    """Zero-shot, linear probe and both ceilings on each domain, by thirds of the images, with the smallest difference
    that could be found, and below the table how many class words the anchors contain and how many images are copies of
    others across splits and domains. Read the sentence under the table first: where the room is small against that
    difference, no method can be told from another on this domain."""
    frame = headroom_frame(results)
    columns = [
        Column("domain", text("domain")),
        Column("n", number("n")),
        Column("zero-shot", percent("zero_shot")),
        Column("linear probe", percent("probe")),
        Column("pooled", interval("pooled", sign="")),
        Column("oracle", interval("oracle", sign="")),
        Column("transfer", interval("transfer")),
        Column("room", interval("room")),
        Column("reachable", interval("reachable")),
        Column("at λ", number("scale", "{:.2f}")),
        *(Column(f"{kind.replace('_', '-')}, terciles", _by_tercile(kind)) for kind in JUDGED),
        Column("differ", percent("differ")),
        Column("detectable, one run", percent("detectable_mcnemar")),
        Column("detectable", percent("detectable")),
        Column("seeds", number("seeds")),
    ]
    said = () if frame.empty else (*frame["sentence"], bed_sentence(frame.iloc[-1]))
    return Table(frame, columns, EMPTY, notes=(*said, *words_notes(results), *copies_notes(results), *NOTES))


def _record(domain: str, parts: Sequence[Arrays], margin: float) -> dict[str, Any]:
    """One row over the images of these domains; every domain counts the same."""
    accuracies = {
        kind: _effect([arrays[kind] for arrays in parts], ANSWERS) for kind in ("zero_shot", "probe", *CEILINGS)
    }
    best = largest({kind: float(np.nan_to_num(accuracies[kind].estimate)) for kind in CEILINGS})
    room = _gain(parts, best)
    change = _gain(parts, "pooled")
    seeds, n = change.seeds, sum(len(arrays["labels"]) for arrays in parts)
    differ = np.mean([np.abs(arrays["pooled"] - arrays["zero_shot"]).mean() for arrays in parts])
    record: dict[str, Any] = {"domain": domain, "n": n}
    gains = {"room": room, "transfer": change, "reachable": _gain(parts, "reachable")}
    for name, effect in (accuracies | gains).items():
        record |= effect_columns(name, effect)
    for kind in JUDGED:
        thirds = [[arrays[kind][..., rows].mean() for rows in terciles(arrays["alignment"])] for arrays in parts]
        record |= {f"{kind}__{name}": value for name, value in zip(TERCILES, np.mean(thirds, axis=0), strict=True)}
    return record | {
        "scale": np.mean([arrays["scale"].mean() for arrays in parts]),
        "differ": differ,
        "detectable_mcnemar": detectable_difference(n, differ),
        "detectable": change.detectable,
        "seeds": seeds,
        "shows": can_show(margin, room.estimate, change.detectable),
        "sentence": sentence(domain, margin, room.estimate, change.detectable),
        "bed": kind_of_bed(change),
    }


def _effect(correct: Sequence[NDArray], bounds: tuple[float, float]) -> Effect:
    """Of one array per domain, (n,) or (S, n)."""
    return crossed_effect([np.atleast_2d(array)[None] for array in correct], bounds)


def _gain(parts: Sequence[Mapping[str, NDArray]], kind: str) -> Effect:
    return _effect([arrays[kind] - arrays["zero_shot"] for arrays in parts], DIFFERENCES)


def _by_tercile(kind: str):
    def cell(row: pd.Series) -> str:
        return " / ".join(mean_sd(row[f"{kind}__{name}"]) for name in TERCILES)

    return cell


@figure("headroom", "Room above zero-shot on each domain", "1 Claims")
def draw_headroom(results: Results) -> Figure:
    """Accuracy of zero-shot, a linear probe and both ceilings on each domain, over all test images and over their
    thirds by zero-shot alignment to the true class. The gap between grey and black is the room; where it lies in the
    lowest third only, gains come from images that zero-shot does not understand."""
    frame = headroom_frame(results)
    if frame.empty:
        return blank(EMPTY)
    frame = frame[frame["domain"] != ALL]
    rows = math.ceil(len(frame) / COLUMNS)
    columns = math.ceil(len(frame) / rows)
    figure, axes = panels(rows, columns, (TWO_COLUMNS, 0.7 + 1.75 * rows), sharey=True)
    for panel in axes.flat[len(frame) :]:
        panel.set_visible(False)
    for panel, (_, row) in zip(axes.flat, frame.iterrows(), strict=False):
        _panel(panel, row)
        panel.set_title(f"{short(row['domain'], 20)}, n = {row['n']:,}", fontsize=7)
    for panel in axes[:, 0]:
        panel.set_ylabel("accuracy, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=6.5)
    figure.supxlabel(
        "all test images (bars: 95 % interval), and their thirds by zero-shot alignment to the true class", fontsize=7
    )
    return figure


def _panel(axes: Axes, row: pd.Series) -> None:
    for index, (kind, (name, colour, marker)) in enumerate(LOOKS.items()):
        place = 0.16 * (index - 1.5)
        look = {"color": colour, "marker": marker, "markersize": 3.2, "linewidth": 1}
        axes.plot([place, place], [100 * row[f"{kind}_low"], 100 * row[f"{kind}_high"]], color=colour, linewidth=1)
        axes.plot([place], [100 * row[kind]], **look, linestyle="none", label=name)
        if kind in JUDGED:
            axes.plot([1.2, 2.2, 3.2], [100 * row[f"{kind}__{name}"] for name in TERCILES], **look)
    axes.set_xticks([0, 1.2, 2.2, 3.2], ["all", *TERCILES])
    axes.set_xlim(-0.5, 3.5)
    axes.margins(y=0.08)
    axes.grid(False, axis="x")
