"""The ledger: what each method uses, so that rows with different needs are never compared in silence."""

from typing import Any

import numpy as np
import pandas as pd

from sap.findings.main import statistics_bytes, upload_bytes
from sap.needs import NEEDS, STATISTICS, from_source
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.scores import uses_anchors
from sap.report.table import Column, Table, number, text

EMPTY = "This experiment holds no points for the main table."
NOTES = (
    "Adapter, statistics: what one client sends to the server, once, in megabytes (float32). Statistics measured on "
    "the public anchors cost no upload. All rows: one round, no image and no label leaves a client, no target image "
    "is read.",
)
ON = {"client": "on each client's images", "anchors": "on the anchors"}


def ledger_frame(results: Results) -> pd.DataFrame:
    """One row per point of the main table: method, reads, anchors, adapter_bytes, statistics, statistics_bytes."""
    adapter = upload_bytes(results)
    records: list[dict[str, Any]] = []
    for point in results.served_in("main"):
        settings = results.points.loc[point]
        if settings["images"]:  # a ceiling is part of it
            continue
        measured = from_source(STATISTICS, settings["needs"])
        others = [need for need in settings["needs"] if need not in measured]
        titles = " and ".join(sorted(NEEDS[need].title for need in measured))
        anchors = uses_anchors(results, point)
        records.append(
            {
                "method": settings["label"],
                "reads": ", ".join(NEEDS[need].title for need in others),
                "anchors": (settings["anchor_size"] or "all") if anchors else 0,
                "statistics": f"{titles} {ON.get(settings['statistics'], '')}".rstrip() if measured else "",
                "adapter_bytes": adapter * settings["adapters"],
                "statistics_bytes": statistics_bytes(results, point) if measured else 0.0,
            }
        )
    columns = ["method", "reads", "anchors", "statistics", "adapter_bytes", "statistics_bytes"]
    frame = pd.DataFrame(records, columns=columns)
    return frame.assign(statistics_bytes=frame["statistics_bytes"].astype(float).replace({None: np.nan}))


@table("ledger", "What each method uses", "6 Needs and costs", reads=("audit",))
def ledger_table(results: Results) -> Table:
    """What each method uses: sample counts, anchors and their gradients, statistics of the clients, and what one client
    uploads. Methods with the same needs can be compared as they stand; one that asks for more has to be worth it."""
    columns = [
        Column("method", text("method")),
        Column("server reads besides the updates", text("reads")),
        Column("anchors", lambda row: "no" if row["anchors"] == 0 else str(row["anchors"])),
        Column("adapter, MB", number("adapter_bytes", "{:.3g}", 1e-6)),
        Column("statistics", text("statistics")),
        Column("statistics, MB", number("statistics_bytes", "{:.3g}", 1e-6)),
    ]
    return Table(ledger_frame(results), columns, EMPTY, notes=NOTES)
