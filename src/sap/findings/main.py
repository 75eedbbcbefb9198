"""The main table: every method of the view `main` on every held-out domain, between floors and ceilings."""

from typing import Any

import numpy as np
import pandas as pd

from sap.needs import SERVE_NEEDS, STATISTICS, from_source
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.scores import client_grids, domain_columns, grid, shrunk_control, summary, uses_anchors
from sap.report.table import MISSING, Column, Table, effect_columns, interval, is_missing, number, percent, points, text

FLOORS, CEILINGS = "Floors", "Ceilings and choices made on the target"
FAMILIES = {  # family of a merge -> its heading
    "average": "Averages",
    "task vectors": "Task vectors",
    "subspace": "Subspaces",
    "statistics": "Statistics of the clients",
    "sensitivity": "Sensitivity on the anchors",
    "robust": "Robust rules",
    "pruning": "Pruning, then merging",
    "served": "More than one update",
}
BYTES = 4  # of a float32
ORACLE_SELECTION, CEILING = "†", "‡"
EMPTY = "This experiment holds no points for the main table."

NOTES = (
    "Accuracy in percent on the test images of the held-out domain, mean ± sample standard deviation over seeds; "
    "average is the mean over domains per seed. Δ: points above zero-shot, paired by seed; ↓ below zero-shot.",
    "† chosen on the target's own labels (oracle selection): no method can make this choice. "
    "‡ a ceiling: trained on images that the server never sees.",
    "Beyond shrinkage: accuracy minus that of the unpruned merge scaled, layer by layer, to the same norm, in points "
    "with a 95 % interval over draws, seeds and images. No gain is credited to saliency where it holds zero (n.s.).",
    "Cost: runs of the image tower for each image, and millions of numbers kept beside the backbone, if any. "
    "Selection: how ρ and λ were chosen. Anchors: public image-text pairs that the server reads. "
    "Upload: from one client to the server. n: test images of all held-out domains × seeds.",
)


def main_frame(results: Results) -> pd.DataFrame:
    """One row per method: method, group, mark, kind, point, criterion, summary and domain columns, ledger columns."""
    records = []

    def add(
        method: str, group: str, values: pd.DataFrame, point: str | None = None, mark: str = "", **ledger: Any
    ) -> None:
        records.append(
            {
                "method": method,
                "group": group,
                "mark": mark,
                "kind": results.points.loc[point, "kind"] if point else "client",
                "point": point,
                "criterion": results.points.loc[point, "criterion"] if point else None,
                "control": results.points.loc[point, "control"] if point else None,
                **domain_columns(results, values),
                **summary(results, values),
                "selection": ledger.get("selection", "none"),
                "anchors": ledger.get("anchors", 0),
                "upload_bytes": ledger.get("upload", np.nan),
                "reads": ledger.get("reads", ""),
                **served_cost(results, point),
            }
        )

    upload = upload_bytes(results)
    alone = client_grids(results)
    for kind, floors in results.points.loc[results.references("floor")].groupby("kind", sort=False):
        if alone and kind == "client":
            add("client alone (mean)", FLOORS, alone[0], upload=upload)
        for point, label in floors["label"].items() if kind != "client" else ():
            add(label, FLOORS, grid(results, point), point, upload=0.0 if kind == "zero_shot" else upload)
    families, ceilings = list(FAMILIES), list[tuple[str, dict[str, Any]]]()
    for point in sorted(results.served_in("main"), key=lambda p: families.index(results.points.loc[p, "family"])):
        settings = results.points.loc[point]
        ledger: dict[str, Any] = {"anchors": (settings["anchor_size"] or "all") if uses_anchors(results, point) else 0}
        if settings["images"]:  # a ceiling is part of it
            ceilings.append((point, ledger))
            continue
        ledger |= {"upload": upload * settings["adapters"] + statistics_bytes(results, point), "selection": "fixed"}
        add(settings["label"], FAMILIES[settings["family"]], grid(results, point), point, **ledger)
    if alone:
        add("best client", CEILINGS, alone[1], mark=ORACLE_SELECTION, upload=upload, selection="oracle")
    for point, ledger in [*((point, {}) for point in results.references("ceiling")), *ceilings]:
        ledger["reads"] = results.points.loc[point, "images"]
        add(results.points.loc[point, "label"], CEILINGS, grid(results, point), point, mark=CEILING, **ledger)
    return pd.DataFrame(records)


def beyond_shrinkage(results: Results, frame: pd.DataFrame) -> pd.DataFrame:
    """beyond, beyond_low, beyond_high of each row of `main_frame`: a share, NaN without pruning or without control."""
    from sap.report.effects import difference  # scipy: who asks for a run's status prints this table without the column
    from sap.stats.effect import MISSING_EFFECT

    effects = [
        difference(results, row["point"], shrunk_control(results, row["point"])) if pruned(row) else MISSING_EFFECT
        for _, row in frame.iterrows()
    ]
    return pd.DataFrame([effect_columns("beyond", effect) for effect in effects], index=frame.index)


@table("main", "Accuracy on held-out domains, all methods", "2 Accuracy")
def main_table(results: Results, controls: bool = True) -> Table:
    """Accuracy in percent on each held-out domain, mean ± standard deviation over seeds, between floors and ceilings,
    with Δ, the gain of the average over zero-shot, paired by seed (↓: below zero-shot; †: chosen with the target's
    labels; ‡: trained on images that the server never sees). The last columns say what a row uses: how its ρ and λ were
    selected, how many public anchors, and how much one client uploads."""
    # Without `controls` no predictions are read: they are not whole while an evaluation runs.
    frame = main_frame(results)
    beyond = beyond_shrinkage(results, frame) if controls else pd.DataFrame()
    columns = [
        Column("method", lambda row: row["method"] + row["mark"]),
        *(
            Column(target, percent(f"accuracy__{target}", f"sd__{target}", f"delta__{target}"))
            for target in results.targets
        ),
        Column("average", percent("mean", "sd", "delta")),
        Column("worst", worst_domain),
        Column("Δ", lambda row: "–" if row["kind"] == "zero_shot" else points("delta", "delta_sd", mark=True)(row)),
        *([Column("beyond shrinkage", beyond_cell)] if controls else []),
        Column("cost", cost),
        Column("n", images_and_seeds),
        Column("selection", text("selection")),
        Column("anchors", lambda row: "no" if row["anchors"] == 0 else str(row["anchors"])),
        Column("upload, MB", lambda row: row["reads"] or number("upload_bytes", "{:.3g}", 1e-6)(row)),
    ]
    left_out = [f"Left out: {row.label}. {row.reason}" for row in results.plan.left_out]
    return Table(pd.concat([frame, beyond], axis=1), columns, EMPTY, section="group", notes=(*NOTES, *left_out))


def pruned(row: pd.Series) -> bool:
    """True for a row of a pruned merge that is no control of another."""
    named = row["kind"] == "merge" and not is_missing(row["criterion"])
    return named and row["criterion"] != "none" and row["control"] == "none"


def beyond_cell(row: pd.Series) -> str:
    """`+1.2 [0.3, 2.1]`, with `n.s.` where the interval holds zero; – without pruning."""
    if not pruned(row):
        return "–"
    unsure = row["beyond_low"] <= 0 <= row["beyond_high"]
    return interval("beyond")(row) + (" n.s." if unsure else "")


def upload_bytes(results: Results) -> float:
    """Mean upload of one client in bytes; NaN where a meta.json is missing."""
    return results.trainings.loc[results.trainings["kind"] == "client", "upload_bytes"].mean(skipna=False)


def statistics_bytes(results: Results, point: str) -> float:
    """Bytes of statistics that one client sends besides its adapter; 0 for most methods. Of a merge the audit says it,
    of what is served otherwise its rows do."""
    measured = from_source(STATISTICS, results.points.loc[point, "needs"])
    if not measured:
        return 0.0
    sent = results.rows.loc[results.rows["point"] == point, "uploaded"].dropna()
    if len(sent) and set(measured) <= set(SERVE_NEEDS):  # no audit says what its merge's statistics cost
        return BYTES * float(sent.mean())
    layers = results.audit[results.audit["point"] == point]
    return layers.groupby(["target", "seed"])["upload_bytes"].sum().mean() if len(layers) else np.nan


def served_cost(results: Results, point: str | None) -> dict[str, float]:
    """`passes` and `parameters` of what is served, means over folds that hold a domain out; a client alone is one
    update in the weights."""
    if point is None:
        return {"passes": 1.0, "parameters": 0.0}
    rows = results.rows[(results.rows["point"] == point) & (results.rows["domain"] == results.rows["target"])]
    return {name: rows[name].astype(float).mean() for name in ("passes", "parameters")}


def cost(row: pd.Series) -> str:
    """`1×`, or `4×, 0.21 M` where numbers are kept beside the backbone."""
    if is_missing(row["passes"]):
        return MISSING
    return f"{row['passes']:.3g}×" + (f", {row['parameters'] / 1e6:.3g} M" if row["parameters"] else "")


def worst_domain(row: pd.Series) -> str:
    """`41.2 (sketch)`: the domain with the lowest mean accuracy."""
    return MISSING if is_missing(row["worst_domain"]) else f"{100 * row['worst']:.1f} ({row['worst_domain']})"


def images_and_seeds(row: pd.Series) -> str:
    """`960 × 3`: test images of all held-out domains × seeds that have a row for each of them."""
    return f"{MISSING} × {row['seeds']}" if is_missing(row["images"]) else f"{row['images']:.0f} × {row['seeds']}"
