"""Rows that could not be computed, as a table of their own."""

import pandas as pd

from sap.evaluate.rows import TEST
from sap.report.exhibit import table
from sap.report.failures import named
from sap.report.frame import Results
from sap.report.table import Column, Table, text

EMPTY = "Every row could be computed."
NOTES = (
    "What failed is marked in the other tables; what builds on it is missing there. The next run tries it again. "
    "What nobody foresaw stands with its traceback in the job's log under `logs/`.",
)


def failed_frame(results: Results) -> pd.DataFrame:
    """One row per stage, method (or client) and sentence: stage, what, point, where, rows, sentence."""
    records = []
    for (stage, what, sentence), rows in named(results).groupby(["stage", "what", "error"], sort=False):
        where = ", ".join(dict.fromkeys(_place(row) for _, row in rows.iterrows()))
        records.append(
            {"stage": stage, "what": what, "point": rows["point"].iloc[0], "where": where, "rows": len(rows)}
            | {"sentence": sentence}
        )
    return pd.DataFrame(records)


@table("failed", "What could not be computed, and why", "6 Needs and costs", reads=())
def failed_table(results: Results) -> Table:
    """What could not be computed, with the reason: other tables say *failed* at its place, and *missing* where
    something builds on it. The next run tries it again, and an empty table is the rule."""
    columns = [
        Column("what", text("what")),
        Column("rows", text("rows")),
        Column("where", text("where")),
        Column("why", text("sentence")),
    ]
    return Table(failed_frame(results), columns, EMPTY, section="stage", notes=NOTES)


def _place(row: pd.Series) -> str:
    """`sketch; seed 0`; of a row on another domain than the held-out one `sketch on printed; seed 0`."""
    parts = [f"client {row['client']}"] if pd.notna(row["client"]) else []
    if pd.notna(row["target"]):
        parts = [row["target"]]
        if pd.notna(row["images"]):
            images = row["domain"] if row["images"] == TEST else f"{row['domain']} ({row['images']})"
            parts = parts if images == row["target"] else [f"{row['target']} on {images}"]
    return "; ".join([*parts, f"seed {row['seed']}"])
