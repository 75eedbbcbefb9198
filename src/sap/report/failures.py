"""Rows that could not be computed, marked where a table would have shown them."""

from collections.abc import Collection, Iterable

import pandas as pd

from sap.report.frame import Results
from sap.report.table import MISSING, Column, Table

MARK = "failed"
MOST = 5  # failures that a note quotes


def marked(table: Table, reads: Collection[str], results: Results) -> Table:
    """A table that shows rows of the stages `reads`, with those that failed marked.

    They say `failed` where a missing number would stand, CSV has a column `failed` with the sentence, and the notes
    quote it.
    """
    failures = named(results)
    failures = failures[failures["stage"].isin(reads)]
    if failures.empty:
        return table
    frame, columns = table.frame, table.columns
    said = dict(failures.groupby("point", sort=False)["error"].first())
    keys = [key for key in ("point", "reference") if key in frame]
    if keys:
        reasons = [next((said[row[key]] for key in keys if row[key] in said), "") for _, row in frame.iterrows()]
        frame = frame.assign(failed=reasons)
        columns = [Column(header, _marking(cell)) for header, cell in columns]
    return Table(frame, columns, table.empty, table.section, (*table.notes, *_quoted(failures)))


def _marking(cell):
    return lambda row: cell(row).replace(MISSING, MARK) if row["failed"] else cell(row)


def _quoted(failures: pd.DataFrame) -> Iterable[str]:
    each = failures.drop_duplicates(["what", "error"])
    for _, row in each.head(MOST).iterrows():
        yield f"Failed: {row['what']}: {row['error']}"
    if len(each) > MOST:
        yield f"Failed, too: {len(each) - MOST} more, see `failed.md`."


def named(results: Results) -> pd.DataFrame:
    """The failed rows with `what`: the method's label, else the client or the domain."""
    labels = results.points["label"].to_dict()

    def what(row: pd.Series) -> str:
        if pd.notna(row["point"]):
            return labels[row["point"]]
        return f"client {row['client']}" if pd.notna(row["client"]) else f"domain {row['domain']}"

    return results.failures.assign(what=[what(row) for _, row in results.failures.iterrows()])
