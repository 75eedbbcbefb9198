"""The sweep: prune ratio × anchor set size × merge method, over the points of the view `sweep`."""

from collections.abc import Sequence

import pandas as pd

from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.main import images_and_seeds, worst_domain
from sap.report.scores import domain_columns, grid, summary, unpruned, uses_anchors, varying
from sap.report.table import Column, Table, is_missing, number, percent, points, text

EMPTY = "This experiment holds no sweep points."
EXTRA = ("criterion", "space", "alignment", "reduction", "scope", "rescale", "scale", "anchor_draw", "control")
NOTES = (
    "Accuracy in percent on held-out domains, averaged over domains, mean ± sd over seeds. Δ: points above zero-shot, "
    "paired by seed; ↓ below zero-shot. n: test images × seeds. ρ = 0 is the unpruned merge.",
)


def sweep_frame(results: Results) -> pd.DataFrame:
    """One row per sweep point, ordered by merge, variant, anchors and ρ.

    Columns: merge, variant (the settings beyond the axes that vary, as text), anchor_size (NaN where the criterion
    reads no anchors), prune_ratio (0 for the unpruned merge), point, label, summary and domain columns.
    """
    inside = results.in_view("sweep")
    pruned = [point for point in inside if results.points.loc[point, "criterion"] != "none"]
    extra = varying(results, pruned, EXTRA)
    records = []
    for point in inside:
        settings = results.points.loc[point]
        cut = settings["criterion"] != "none"
        values = grid(results, point)
        records.append(
            {
                "merge": settings["merge"],
                "variant": variant(settings, extra) if cut else "",
                "criterion": settings["criterion"],
                "anchor_size": settings["anchor_size"] if uses_anchors(results, point) else None,
                "prune_ratio": settings["prune_ratio"] if cut else 0.0,
                "point": point,
                "label": settings["label"],
                **summary(results, values),
                **domain_columns(results, values),
            }
        )
    frame = pd.DataFrame(records)
    if frame.empty:
        return frame
    frame = frame.astype({"anchor_size": float, "prune_ratio": float})
    order = ["merge", "variant", "anchor_size", "prune_ratio"]
    return frame.sort_values(order, kind="stable", na_position="first", ignore_index=True)


def unpruned_frame(results: Results) -> pd.DataFrame:
    """The unpruned merge (from any view) of each merge method in the sweep: merge, mean, sd, delta, delta_sd."""
    records = []
    for point in results.in_view("sweep"):
        reference = unpruned(results, point)
        if reference is not None:
            records.append({"merge": results.points.loc[point, "merge"], **summary(results, grid(results, reference))})
    columns = ["merge", "mean", "sd", "delta", "delta_sd"]
    return pd.DataFrame(records, columns=columns).drop_duplicates("merge", ignore_index=True)


@table("sweep", "Prune ratio × anchor set size × merge method", "3 Pruning")
def sweep_table(results: Results) -> Table:
    """The sweep over prune ratio ρ, anchor set size and merge method: accuracy averaged over the held-out domains, gain
    over zero-shot, and the worst domain. Compare each row with ρ = 0, the unpruned merge of the same method, before
    zero-shot.
    """
    frame = sweep_frame(results)
    shown = [] if frame.empty or not frame["variant"].any() else [Column("variant", text("variant"))]
    columns = [
        Column("ρ", lambda row: f"{row['prune_ratio']:g}"),
        *shown,
        Column("anchors", lambda row: "no" if is_missing(row["anchor_size"]) else number("anchor_size")(row)),
        Column("accuracy", percent("mean", "sd", "delta")),
        Column("Δ", points("delta", "delta_sd", mark=True)),
        Column("worst domain", worst_domain),
        Column("n", images_and_seeds),
    ]
    return Table(frame, columns, EMPTY, section="merge", notes=NOTES)


def variant(settings: pd.Series, names: Sequence[str]) -> str:
    """Some settings in a few words for a title: `taylor absolute, rescale frobenius`; absent ones are left out."""
    words = []
    for name in names:
        if settings[name] is not None:
            value = str(settings[name]).replace("_", " ")
            words.append(value if name in ("criterion", "merge") else f"{name.replace('_', ' ')} {value}")
    return ", ".join(words)
