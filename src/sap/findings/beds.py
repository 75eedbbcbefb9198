"""The same rows on several beds: how far each lies behind the best that needs no target, and how the order turns over.

    regret(row, bed) = accuracy of the bed's best row that was fixed in advance − accuracy of the row

The best row is known in hindsight only. A row that is never far behind it, on beds where the sources transfer and on
beds where they do not, can be recommended to somebody who does not know on which kind of bed he stands.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sap.findings.claim_effects import bed
from sap.findings.claim_points import NotTestable, sap_point, unpruned_mean
from sap.findings.selection import EVERYTHING, HELD_OUT_CLIENT, MODES, families, selected_correct
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.outcomes import Array
from sap.report.table import BELOW, Column, Table, interval, is_missing, number, percent, text
from sap.stats.resampling import interval_of, rank_correlation, ranks, resampled_means
from sap.stats.ties import largest

CHOSEN, FIXED, FLOORS, CEILINGS = "Chosen without the target", "Fixed in advance", "Floors", "Ceilings"
FREE = (CHOSEN, FIXED, FLOORS)  # what needs no target
EMPTY = "This experiment stands alone: it names no other in `beds`, or none of them has run."
NOTES = (
    "Behind: points below the best row of that bed that was fixed in advance, known in hindsight only; below zero a "
    "rule beats it. Worst: the largest over the beds [95 % interval over seeds and images, with the best row chosen "
    "anew in each resample]. Mean rank: over the beds, 1 is best.",
    "Rules that choose do so for each held-out domain and seed: see the table of selection. Accuracy in percent on the "
    "held-out domains.",
)


@dataclass(frozen=True, eq=False)
class BedRow:
    """One row of a bed: `correct` (S, n) of 0 and 1 per target, empty where predictions are missing."""

    label: str
    section: str
    point: str | None
    correct: list[Array]

    @property
    def accuracy(self) -> float:
        """Mean over domains, a share."""
        return float(np.mean([domain.mean() for domain in self.correct])) if self.correct else np.nan


def bed_rows(results: Results) -> dict[str, BedRow]:
    """Label -> row, of everything that the main table and the λ path show and of every rule that chooses.

    Of two points with one label the second has its id beside it; a point of both views stands there once.
    """
    found: dict[str, BedRow] = {}
    for row in _rows(results):
        taken = found.get(row.label)
        if taken is None:
            found[row.label] = row
        elif taken.point != row.point:
            label = f"{row.label} [{row.point}]"
            found[label] = replace(row, label=label)
    return found


def regret_frame(beds: Sequence[Results]) -> pd.DataFrame:
    """One row per label that all beds have and that needs no target, sorted by the worst regret in its section.

    section, method, accuracy__BED, behind__BED, rank__BED for each bed, worst with _low and _high, worst_bed,
    mean_rank; shares in [0, 1]. A row without predictions on some bed is missing there, and has no worst.
    """
    if len(beds) < 2:
        return pd.DataFrame()
    rows = [bed_rows(results) for results in beds]
    labels = [label for label, row in rows[0].items() if row.section in FREE and all(label in other for other in rows)]
    names = [results.plan.experiment for results in beds]
    behind, samples = list[np.ndarray](), list[np.ndarray]()
    records: list[dict[str, Any]] = [{"section": rows[0][label].section, "method": label} for label in labels]
    for name, bed_of in zip(names, rows, strict=True):
        accuracies = np.array([bed_of[label].accuracy for label in labels])
        resampled = _resampled([bed_of[label] for label in labels])
        fixed = [place for place, label in enumerate(labels) if bed_of[label].section != CHOSEN]
        behind.append(np.nanmax(accuracies[fixed]) - accuracies)
        samples.append(np.nanmax(resampled[:, fixed], axis=1, keepdims=True) - resampled)
        placed = ranks(np.nan_to_num(accuracies, nan=-1.0))
        for record, accuracy, regret, rank in zip(records, accuracies, behind[-1], placed, strict=True):
            record |= {f"accuracy__{name}": accuracy, f"behind__{name}": regret, f"rank__{name}": rank}
    worst, reach = np.max(behind, axis=0), np.max(samples, axis=0)
    for place, record in enumerate(records):
        low, high = interval_of(reach[:, place])
        record |= {"worst": worst[place], "worst_low": low, "worst_high": high}
        record["worst_bed"] = "" if np.isnan(worst[place]) else names[int(np.argmax([part[place] for part in behind]))]
        record["mean_rank"] = float(np.mean([record[f"rank__{name}"] for name in names]))
    frame = pd.DataFrame(records)
    frame["order"] = frame["section"].map(FREE.index)
    return frame.sort_values(["order", "worst"], kind="stable", ignore_index=True).drop(columns="order")


@table("regret", "How far each row lies behind the best of its bed", "2 Accuracy")
def regret_table(results: Results) -> Table:
    """Rows that are judged on several beds: accuracy on each, how far they lie behind the best row there that was fixed
    in advance, and the worst of it. Read the worst: a rule with a small one does well whether or not the sources
    transfer, and nobody has to know beforehand."""
    return regret_of(results.beds)


def regret_of(beds: Sequence[Results]) -> Table:
    """The table of `regret_frame` for these experiments."""
    names = [results.plan.experiment for results in beds]
    columns = [
        Column("method", text("method")),
        *(Column(name, percent(f"accuracy__{name}")) for name in names),
        *(Column(f"behind on {name}", number(f"behind__{name}", "{:.1f}", 100)) for name in names),
        Column("worst", interval("worst", sign="")),
        Column("on", text("worst_bed")),
        Column("mean rank", number("mean_rank", "{:.1f}")),
    ]
    frame = regret_frame(beds)
    notes = () if frame.empty else (*map(_bed_note, beds), *_correlation_notes(beds), *NOTES)
    return Table(frame, columns, EMPTY, section="section", notes=notes)


def beds_frame(beds: Sequence[Results]) -> pd.DataFrame:
    """At most ten rows for a first look: floors and ceilings, the mean, SAP, the leader of each bed, and what held-out
    clients choose. section, method, accuracy__BED and delta__BED, the difference to zero-shot."""
    rows = [bed_rows(results) for results in beds]
    wanted: list[str] = []
    for results, bed_of in zip(beds, rows, strict=True):
        fixed = {label: row.accuracy for label, row in bed_of.items() if row.section == FIXED and row.correct}
        wanted += [largest(fixed)] if fixed else []
        for find in (unpruned_mean, sap_point):
            with suppress(NotTestable):
                wanted.append(str(results.points.loc[find(results), "label"]))
        paths = [name for name, family in families(results).items() if _of_the_mean(results, family.points)]
        wanted += [_by(name, HELD_OUT_CLIENT) for name in [*paths, EVERYTHING]]
    kept = dict.fromkeys(wanted)
    records = []
    for label, row in rows[-1].items():
        floor = row.section in (FLOORS, CEILINGS) and not label.startswith("output ensemble (logits")
        if not (floor or label in kept) or not all(label in bed_of for bed_of in rows):
            continue
        record: dict[str, Any] = {"section": row.section, "method": label}
        for results, bed_of in zip(beds, rows, strict=True):
            name, start = results.plan.experiment, bed_of.get("zero-shot")
            record[f"accuracy__{name}"] = bed_of[label].accuracy
            record[f"delta__{name}"] = bed_of[label].accuracy - start.accuracy if start else np.nan
        records.append(record)
    return pd.DataFrame(records)


@table("beds", "The same methods where the sources transfer and where they do not", "2 Accuracy")
def beds_table(results: Results) -> Table:
    """The first look at several beds side by side: floors, ceilings, the plain mean, SAP, the leader of each bed, and
    what held-out clients choose without seeing the target. Compare the columns: what leads on one bed may be last on
    another."""
    beds = results.beds
    frame = beds_frame(beds) if len(beds) > 1 else pd.DataFrame()

    def cell(name: str):
        def printed(row: pd.Series) -> str:
            change = row[f"delta__{name}"]
            mark = f" {BELOW}" if not is_missing(change) and change < 0 else ""
            return percent(f"accuracy__{name}")(row) + mark

        return printed

    columns = [
        Column("method", text("method")),
        *(Column(f"{one.plan.experiment}: {bed(one) or 'bed unknown'}", cell(one.plan.experiment)) for one in beds),
    ]
    note = f"Accuracy in percent on held-out domains, mean over domains and seeds; {BELOW} below zero-shot of that bed."
    return Table(frame, columns, EMPTY, section="section", notes=(note, *map(_bed_note, beds)))


def correlations(beds: Sequence[Results]) -> Iterator[tuple[str, str, float, tuple[float, float]]]:
    """(bed, bed, Spearman's correlation of the fixed rows' accuracies, its 95 % interval) of every pair of beds."""
    rows = [bed_rows(results) for results in beds]
    for second in range(len(beds)):
        for first in range(second):
            common = [label for label, row in rows[first].items() if row.section == FIXED and row.correct]
            common = [label for label in common if label in rows[second] and rows[second][label].correct]
            if len(common) < 3:
                continue
            pair = [[rows[place][label] for label in common] for place in (first, second)]
            samples = rank_correlation(*map(_resampled, pair))
            found = float(rank_correlation(*(np.array([row.accuracy for row in side]) for side in pair)))
            names = beds[first].plan.experiment, beds[second].plan.experiment
            yield *names, found, interval_of(samples[~np.isnan(samples)])


def best_fixed(results: Results) -> BedRow | None:
    """The row of a bed that was fixed in advance and is best there, in hindsight; None without predictions."""
    fixed = {label: row for label, row in bed_rows(results).items() if row.section in (FIXED, FLOORS) and row.correct}
    return fixed[largest({label: row.accuracy for label, row in fixed.items()})] if fixed else None


def _rows(results: Results) -> Iterator[BedRow]:
    points = results.points
    for point in results.references("floor"):
        if points.loc[point, "kind"] != "client":
            yield _fixed(results, point, FLOORS)
    for point in [*results.served_in("main"), *results.in_view("path")]:
        if not points.loc[point, "images"]:  # no ceiling is a part of it
            yield _fixed(results, point, FIXED)
    for name, family in families(results).items():
        for mode in MODES:
            cells = None if mode in ("fixed", "oracle") else selected_correct(results, family, mode)
            if cells is not None:
                yield BedRow(_by(name, mode), CHOSEN, None, [cell[0] for cell in cells])
    for point in results.references("ceiling"):
        yield _fixed(results, point, CEILINGS)


def _by(family: str, mode: str) -> str:
    return f"{family}, by {mode}"


def _fixed(results: Results, point: str, section: str) -> BedRow:
    cells = results.outcomes.held_out(point)
    whole = cells is not None and not any(np.isnan(cell).any() or len(cell) < len(results.seeds) for cell in cells)
    return BedRow(str(results.points.loc[point, "label"]), section, point, cells if cells and whole else [])


def _resampled(rows: Sequence[BedRow]) -> Array:
    """(R, M) accuracies under one resampling; NaN for rows without predictions."""
    there = [place for place, row in enumerate(rows) if row.correct]
    domains = [[row.correct[domain] for row in rows if row.correct] for domain in range(_domains(rows))]
    means = resampled_means([np.stack(domain) for domain in domains])
    found = np.full((len(means), len(rows)), np.nan)
    found[:, there] = means
    return found


def _domains(rows: Sequence[BedRow]) -> int:
    return len(next(row.correct for row in rows if row.correct))


def _of_the_mean(results: Results, family: Sequence[str]) -> bool:
    try:
        return unpruned_mean(results) in family
    except NotTestable:
        return False


def _bed_note(results: Results) -> str:
    best = best_fixed(results)
    led = f" Its best fixed row is {best.label}, {100 * best.accuracy:.1f} %." if best else ""
    return f"{results.plan.experiment}: {bed(results) or 'whether the sources transfer is not known'}.{led}"


def _correlation_notes(beds: Sequence[Results]) -> Iterator[str]:
    for first, second, found, (low, high) in correlations(beds):
        printed = f"{found:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
        yield f"Rank correlation (Spearman) of the rows fixed in advance between {first} and {second}: {printed}."
