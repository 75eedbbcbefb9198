"""A table: one frame in full precision, and how each column is printed. CSV, Markdown and LaTeX follow from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from sap.escape import csv_cell

if TYPE_CHECKING:
    from sap.stats.effect import Effect

MISSING = "missing"
BELOW = "↓"

Cell = Callable[[pd.Series], str]


class Column(NamedTuple):
    """A printed column: its header and the text of one row of the frame."""

    header: str
    cell: Cell


@dataclass(frozen=True)
class Table:
    """`frame` is what CSV holds (shares in [0, 1]); `columns` say what is printed (percent); `section` names the
    frame's column that groups rows; `empty` is the sentence in place of a table without rows."""

    frame: pd.DataFrame
    columns: Sequence[Column]
    empty: str
    section: str | None = None
    notes: Sequence[str] = field(default=())

    def headers(self) -> list[str]:
        """Printed headers."""
        return [column.header for column in self.columns]

    def csv(self) -> str:
        """The frame in full precision; a text that a spreadsheet would run as a formula begins with a `'`."""
        safe = self.frame.rename(columns=csv_cell)
        safe = safe.map(lambda value: csv_cell(value) if isinstance(value, str) else value)
        return safe.to_csv(index=False, lineterminator="\n")

    def sections(self) -> list[tuple[str, list[list[str]]]]:
        """(section title, printed rows) in the frame's order; one untitled section where rows are not grouped."""
        found: dict[str, list[list[str]]] = {}
        for _, row in self.frame.iterrows():
            title = row[self.section] if self.section else ""
            found.setdefault(title, []).append([column.cell(row) for column in self.columns])
        return list(found.items())


def text(name: str, absent: str = "–") -> Cell:
    """A text as it is; `absent` where there is none."""
    return lambda row: absent if is_missing(row[name]) or row[name] == "" else str(row[name])


def number(name: str, form: str = "{:,.0f}", factor: float = 1.0, absent: str = MISSING) -> Cell:
    """A number times `factor`, printed by a format, with a true minus; `absent` where it is missing."""

    def cell(row: pd.Series) -> str:
        if is_missing(row[name]):
            return absent
        printed = form.format(row[name] * factor)
        return printed.lstrip("-") if not printed.strip("-0.") else printed.replace("-", "−", printed.startswith("-"))

    return cell


def percent(name: str, sd: str | None = None, below: str | None = None) -> Cell:
    """A share as `62.1 ± 0.4` in percent, with ↓ where the frame's column `below` is negative."""

    def cell(row: pd.Series) -> str:
        printed = mean_sd(row[name], row[sd] if sd else None)
        return f"{printed} {BELOW}" if below and not is_missing(row[below]) and row[below] < 0 else printed

    return cell


def points(name: str, sd: str | None = None, mark: bool = False) -> Cell:
    """A difference of shares in signed points, `+1.3` or `−0.8`; with `mark`, ↓ beside negative ones."""

    def cell(row: pd.Series) -> str:
        printed = signed(row[name], row[sd] if sd else None)
        return f"{printed} {BELOW}" if mark and not is_missing(row[name]) and row[name] < 0 else printed

    return cell


def spread(name: str, form: str = "{:.2f}", factor: float = 1.0) -> Cell:
    """A number ± its `NAME_sd`, `0.31 ± 0.02`; without the spread where there is none."""

    def cell(row: pd.Series) -> str:
        printed, sd = number(name, form, factor)(row), row[f"{name}_sd"]
        return (printed if is_missing(sd) else f"{printed} ± {form.format(sd * factor)}").replace("-", "−")

    return cell


def interval(name: str, form: str = "{:.1f}", factor: float = 100.0, sign: str = "+") -> Cell:
    """An effect with its interval, `+1.2 [−0.3, 2.7]`, from the columns of `effect_columns`; in points by default."""

    def cell(row: pd.Series) -> str:
        if is_missing(row[name]):
            return MISSING
        printed = [form.format(row[column] * factor) for column in (name, f"{name}_low", f"{name}_high")]
        estimate, low, high = (text if float(text) else text.lstrip("-") for text in printed)  # no minus zero
        estimate = f"{sign}{estimate}" if float(estimate) > 0 else estimate
        return f"{estimate} [{low}, {high}]".replace("-", "−")

    return cell


def effect_columns(name: str, effect: "Effect") -> dict[str, float]:
    """NAME, NAME_low and NAME_high of a frame's row."""
    return {name: effect.estimate, f"{name}_low": effect.low, f"{name}_high": effect.high}


def p_value(p: float, absent: str = MISSING) -> str:
    """`0.031`, or `< 0.001`."""
    return absent if is_missing(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def points_of(share: float) -> str:
    """`1 point`, `2.5 points`: a share in percentage points, in words."""
    return f"{100 * share:g} point" + "s" * (f"{100 * share:g}" != "1")


def sample(row: Mapping[str, Any]) -> str:
    """`3 × 5 × 1920`: draws × seeds × images; without the draws where there is one."""
    if not row["images"]:
        return MISSING
    draws = f"{row['draws']:.0f} × " if row["draws"] > 1 else ""
    return f"{draws}{row['seeds']:.0f} × {row['images']:.0f}"


def mean_sd(mean: float, sd: float | None = None) -> str:
    """`62.1 ± 0.4` from shares; without the spread where there is none (a single seed)."""
    if is_missing(mean):
        return MISSING
    return f"{100 * mean:.1f}" if sd is None or is_missing(sd) else f"{100 * mean:.1f} ± {100 * sd:.1f}"


def signed(value: float, sd: float | None = None) -> str:
    """`+1.3`, `−0.8` (a true minus) or `0.0` from a difference of shares."""
    if is_missing(value):
        return MISSING
    rounded = round(100 * value, 1)
    printed = "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")
    return printed if sd is None or is_missing(sd) else f"{printed} ± {100 * sd:.1f}"


def is_missing(value: Any) -> bool:
    """True for None and NaN."""
    return value is None or (isinstance(value, float) and value != value)
