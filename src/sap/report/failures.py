"""Rows that could not be computed: a table of their own, and marks where other tables would have shown them."""

from collections.abc import Collection, Iterable

import pandas as pd

from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import MISSING, Column, Table, text

MARK = "failed"
EMPTY = "Every row could be computed."
NOTES = (
    "What failed is marked in the other tables; what builds on it is missing there. The next run tries it again. "
    "What nobody foresaw stands with its traceback in the job's log under `logs/`.",
)
MOST = 5  # failures that a note quotes


def failed_frame(results: Results) -> pd.DataFrame:
    """One row per stage, method (or client) and sentence: stage, what, point, where, rows, sentence."""
    records = []
    for (stage, what, sentence), rows in _named(results).groupby(["stage", "what", "error"], sort=False):
        where = ", ".join(dict.fromkeys(_place(row) for _, row in rows.iterrows()))
        records.append(
            {"stage": stage, "what": what, "point": rows["point"].iloc[0], "where": where, "rows": len(rows)}
            | {"sentence": sentence}
        )
    return pd.DataFrame(records)


@table("failed", "What could not be computed, and why", "6 Needs and costs", reads=())
def failed_table(results: Results) -> Table:
    """What could not be computed, with the reason: other tables say *failed* at its place, and *missing* where
    something builds on it. The next run tries it again, and an empty table is the rule.
    """
    columns = [
        Column("what", text("what")),
        Column("rows", text("rows")),
        Column("where", text("where")),
        Column("why", text("sentence")),
    ]
    return Table(failed_frame(results), columns, EMPTY, section="stage", notes=NOTES)


def marked(table: Table, reads: Collection[str], results: Results) -> Table:
    """A table that shows rows of the stages `reads`, with those that failed marked.

    They say `failed` where a missing number would stand, CSV has a column `failed` with the sentence, and the notes
    quote it.
    """
    failures = _named(results)
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


def _named(results: Results) -> pd.DataFrame:
    """The failed rows with `what`: the method's label, else the client or the domain."""
    labels = results.points["label"].to_dict()

    def what(row: pd.Series) -> str:
        if pd.notna(row["point"]):
            return labels[row["point"]]
        return f"client {row['client']}" if pd.notna(row["client"]) else f"domain {row['domain']}"

    return results.failures.assign(what=[what(row) for _, row in results.failures.iterrows()])


def _place(row: pd.Series) -> str:
    """`sketch; seed 0`; of a row on another domain than the held-out one `sketch on printed; seed 0`."""
    parts = [f"client {row['client']}"] if pd.notna(row["client"]) else []
    if pd.notna(row["target"]):
        elsewhere = pd.notna(row["domain"]) and row["domain"] != row["target"]
        parts = [f"{row['target']} on {row['domain']}" if elsewhere else row["target"]]
    return "; ".join([*parts, f"seed {row['seed']}"])
