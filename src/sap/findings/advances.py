"""Does any row do more than the plain mean, than its shrinkage control and than zero-shot, on every bed?

A row advances where each of these differences is above zero on each bed; without a control on every bed it may do no
more than shrink, and advances by no p. Every row is a try: the p of a row is the
largest over its differences (an intersection-union test, Berger 1982, needs no correction inside), and Holm corrects
over all rows that were tried.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from sap.findings.beds import EMPTY, FREE, BedRow, bed_rows
from sap.findings.claim_points import NotTestable, unpruned_mean
from sap.io import canonical
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import Column, Table, number, p_value, text
from sap.stats.effect import DIFFERENCES, Effect, crossed_effect
from sap.stats.paired import holm

Controls = dict[str, dict[str, str]]
MEAN, ZERO, LAYER, TOTAL = "mean", "zero-shot", "mean at its layer norms", "mean at its total norm"
YES, UNCONTROLLED, NO = "yes", "not controlled", "no"
NOTES = (
    "Smallest difference: over the beds, in points, to the plain mean, to zero-shot, and to the mean at the row's own "
    "norms (of each layer: `control: shrunk` of a pruned row, or a point with `finish: mean_at_norms`; of the whole "
    "update). –: the experiment has no such control.",
    "p: the largest one-sided p over a row's differences and beds; 1 where one of them is not above zero. Holm: over "
    "all rows of the table. A row advances where Holm's p is under 0.05 and it has a control of its layer norms on "
    "every bed. `not controlled`: p is under 0.05, and it may be the size of the update alone, as with rules that "
    "choose and with the mean at another λ.",
)


def advances_frame(beds: Sequence[Results]) -> pd.DataFrame:
    """One row per label on all beds that needs no target and is neither the mean nor zero-shot, the smallest p first.

    section, method, least (name of the smallest difference and its bed), smallest difference to MEAN, ZERO, LAYER and
    TOTAL as least__NAME (shares, NaN without a control), p, p_holm, advances ("yes", "not controlled" or "no").
    """
    if len(beds) < 2:
        return pd.DataFrame()
    rows, controls = [bed_rows(results) for results in beds], [_controls(results) for results in beds]
    labels = [label for label, row in rows[0].items() if row.section in FREE and all(label in other for other in rows)]
    records, evidence = list[dict[str, Any]](), dict[str, float]()
    for label in labels:
        references = [_references(*each, each[1][label]) for each in zip(beds, rows, controls, strict=True)]
        if not all({MEAN, ZERO} <= found.keys() for found in references):
            continue  # the mean and zero-shot themselves
        gains = {
            (name, results.plan.experiment): (bed_of[label], other)
            for results, bed_of, found in zip(beds, rows, references, strict=True)
            for name, other in found.items()
        }
        whole = {key: _gain(*pair) for key, pair in gains.items()}
        record: dict[str, Any] = {"section": rows[0][label].section, "method": label}
        for wanted in (MEAN, ZERO, LAYER, TOTAL):
            found = [value for (name, _), value in whole.items() if name == wanted]
            record[f"least__{wanted}"] = min(found) if len(found) == len(beds) else np.nan
        least = min(whole, key=lambda key: whole[key]) if whole else None
        record["least"] = f"{least[0]}, on {least[1]}" if least else ""
        evidence[label] = _largest_p(gains, whole)
        records.append(record | {"p": evidence[label]})
    corrected = holm(evidence)
    frame = pd.DataFrame(records)
    if frame.empty:
        return frame
    frame["p_holm"] = [corrected[label] for label in frame["method"]]
    verdicts = np.where(frame[f"least__{LAYER}"].isna(), UNCONTROLLED, YES)
    frame["advances"] = np.where(frame["p_holm"] < 0.05, verdicts, NO)
    return frame.sort_values(["p", f"least__{MEAN}"], ascending=[True, False], kind="stable", ignore_index=True)


@table("advances", "Does anything do more than shrink the mean, on every bed?", "2 Accuracy")
def advances_table(results: Results) -> Table:
    """Every row that needs no target against the plain mean, zero-shot and the mean at its own norms, on all beds: the
    smallest of each difference, and one p for all of them with Holm's correction over the number of tries. A row that
    advances does something that neither averaging, nor doing nothing, nor shrinking does."""
    beds = results.beds
    frame = advances_frame(beds)
    least = [
        Column(f"− {name}", number(f"least__{name}", "{:+.1f}", 100, absent="–")) for name in (MEAN, ZERO, LAYER, TOTAL)
    ]
    columns = [
        Column("method", text("method")),
        *least,
        Column("the smallest is to", text("least")),
        Column("p", lambda row: p_value(row["p"])),
        Column("p (Holm)", lambda row: p_value(row["p_holm"])),
        Column("advances", text("advances")),
    ]
    tries = () if frame.empty else (f"{len(frame)} rows were tried; {(frame['advances'] == YES).sum()} advance.",)
    return Table(frame, columns, EMPTY, notes=(*tries, *NOTES))


def _references(results: Results, rows: Mapping[str, BedRow], controls: Controls, row: BedRow) -> dict[str, BedRow]:
    """What a row is compared with on one bed, by name."""
    found = {}
    with suppress(NotTestable, KeyError):
        found[MEAN] = rows[str(results.points.loc[unpruned_mean(results), "label"])]
    if ZERO in rows:
        found[ZERO] = rows[ZERO]
    for name, control in controls.get(row.point or "", {}).items():
        found[name] = BedRow(name, "", control, results.outcomes.held_out(control) or [])
    return {name: other for name, other in found.items() if other.label != row.label}


def _controls(results: Results) -> Controls:
    """Point -> LAYER or TOTAL -> the point that is its control."""
    same: dict[str, list[Any]] = {}
    for each in results.plan.points:
        same.setdefault(_without(each.settings, "control", "finish"), []).append(each)
    found: Controls = {}
    for each in results.plan.points:
        finish = each.settings.get("finish")
        for other in same[_without(each.settings, "control", "finish")]:
            theirs = other.settings.get("finish")
            if other.settings.get("control") == "shrunk" and theirs == finish:
                found.setdefault(each.id, {})[LAYER] = other.id
            elif not finish and isinstance(theirs, Mapping) and theirs["method"] == "mean_at_norms":
                found.setdefault(each.id, {})[TOTAL if theirs["norm"] == "total" else LAYER] = other.id
    return found


def _without(settings: Mapping[str, Any], *names: str) -> str:
    return canonical({name: value for name, value in settings.items() if name not in names})


def _gain(row: BedRow, other: BedRow) -> float:
    return row.accuracy - other.accuracy


def _largest_p(gains: Mapping[Any, tuple[BedRow, BedRow]], whole: Mapping[Any, float]) -> float:
    """1 without differences, or where one is not above zero: its p is at least one half."""
    if not gains or not all(value > 0 for value in whole.values()):
        return 1.0
    return max(_effect(row, other).p_greater for row, other in gains.values())


def _effect(row: BedRow, other: BedRow) -> Effect:
    return crossed_effect([(a - b)[None] for a, b in zip(row.correct, other.correct, strict=True)], DIFFERENCES)
