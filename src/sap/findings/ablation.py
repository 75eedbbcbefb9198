"""Criteria at equal ρ and at equal norm, the shrinkage control, and the λ path of the unpruned merge."""

import numpy as np
import pandas as pd

from sap.findings.main import images_and_seeds, worst_domain
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.scores import grid, relative_norm, summary, unpruned, variant, varying, zero_shot
from sap.report.table import Column, Table, number, percent, points
from sap.stats.summary import difference, domain_average, summarise

EMPTY = "This experiment holds no ablation points."
EMPTY_PATH = "This experiment holds no points on the λ path."
EXTRA = (
    "merge",
    "space",
    "alignment",
    "reduction",
    "anchor_pool",
    "anchor_size",
    "anchor_draw",
    "scope",
    "rescale",
    "scale",
)
IDENTITY = ("merge_key", "criterion", "prune_ratio", *EXTRA[1:])
NOTES = (
    "Accuracy in percent on held-out domains, averaged over domains, mean ± sd over seeds. Norm: of the pruned merge, "
    "relative to the unpruned one. Equal norm: the pruned merge scaled, layer by layer, to the unpruned one's norm.",
    "Shrunk: the unpruned merge scaled, layer by layer, to the pruned one's norm. Beyond shrinkage = own − shrunk; "
    "beyond random = own − random pruning at the same ρ (points, paired by seed). n: test images × seeds.",
)
PATH_NOTES = (
    "Accuracy in percent, averaged over held-out domains, mean ± sd over seeds. Norm: Frobenius norm of the update, "
    "relative to the unpruned merge (λ = 1). Δ: points above zero-shot, paired by seed.",
)


def ablation_frame(results: Results) -> pd.DataFrame:
    """One row per criterion × ρ (× what else varies): own norm, equal norm, shrunk, and the paired differences.

    Columns: criterion, prune_ratio, variant, point, norm (relative), own_norm, equal_norm, shrunk (each with _sd),
    beyond_shrinkage, beyond_shrinkage_sd, beyond_random, beyond_random_sd, delta, seeds, images.
    """
    inside = [point for point in results.in_view("ablation") if results.points.loc[point, "criterion"] != "none"]
    extra = varying(results, inside, EXTRA)
    by_identity = {(*_identity(results, point), results.points.loc[point, "control"]): point for point in inside}
    by_anchorless = {
        key: point for point, key in ((p, _without_anchors(results, p)) for p in inside) if key[0] == "random"
    }
    records = []
    for point in inside:
        settings = results.points.loc[point]
        if settings["control"] != "none":
            continue
        own = domain_average(grid(results, point))
        restored, shrunk = (
            _average(results, by_identity.get((*_identity(results, point), control)))
            for control in ("restored", "shrunk")
        )
        random = _average(results, by_anchorless.get(("random", *_without_anchors(results, point)[1:])))
        total = summary(results, grid(results, point))
        records.append(
            {
                "criterion": settings["criterion"],
                "prune_ratio": float(settings["prune_ratio"]),
                "variant": variant(settings, extra),
                "point": point,
                "norm": relative_norm(results, point),
                **_pair("own_norm", summarise(own)),
                **{name: total[name] for name in ("delta", "delta_sd", "seeds", "images")},
                **_pair("equal_norm", summarise(restored)),
                **_pair("shrunk", summarise(shrunk)),
                **_pair("beyond_shrinkage", difference(own, shrunk)),
                **_pair("beyond_random", difference(own, random)),
            }
        )
    frame = pd.DataFrame(records)
    if frame.empty:
        return frame
    order = list(frame.sort_values("prune_ratio", kind="stable")["criterion"].unique())  # the same for every ρ
    keys = ["variant", "prune_ratio", "rank"]
    ranked = frame.assign(rank=frame["criterion"].map(order.index))
    return ranked.sort_values(keys, kind="stable", ignore_index=True).drop(columns="rank")


@table("ablation", "Pruning criteria at their own norm, at equal norm, and beside the shrinkage control", "3 Pruning")
def ablation_table(results: Results) -> Table:
    """Pruning criteria at the same ρ: accuracy of the pruned merge at its own norm, scaled layer by layer to the
    unpruned merge's norm (equal norm), and of the unpruned merge scaled to the pruned one's (shrunk), with differences
    in points, paired by seed. *Beyond shrinkage* is own norm − shrunk, what pruning does that a smaller update does
    not; *beyond random* compares with a random mask at the same ρ."""
    frame = ablation_frame(results)
    if not frame.empty:
        frame.insert(0, "section", [_section(row) for _, row in frame.iterrows()])
    columns = [
        Column("criterion", lambda row: row["criterion"].replace("_", " ")),
        Column("norm", number("norm", "{:.2f}")),
        Column("own norm", percent("own_norm", "own_norm_sd", "delta")),
        Column("equal norm", percent("equal_norm", "equal_norm_sd")),
        Column("shrunk", percent("shrunk", "shrunk_sd")),
        Column("beyond shrinkage", points("beyond_shrinkage", "beyond_shrinkage_sd")),
        Column("beyond random", _beyond_random),
        Column("n", images_and_seeds),
    ]
    return Table(frame, columns, EMPTY, section="section", notes=NOTES)


def shrinkage_frame(results: Results) -> pd.DataFrame:
    """The λ path: merge, scale (λ), point, norm (relative), summary columns; zero-shot is λ = 0 of every path."""
    records = []
    for point in results.in_view("path"):
        settings = results.points.loc[point]
        norm = relative_norm(results, point)
        records.append({"merge": settings["merge"], "scale": float(settings["scale"]), "point": point, "norm": norm})
        records[-1] |= summary(results, grid(results, point))
    start = results.of_kind("zero_shot")
    known = {(record["merge"], record["scale"]) for record in records}
    for merge in dict.fromkeys(record["merge"] for record in records):
        if start and (merge, 0.0) not in known:
            values = summary(results, zero_shot(results))
            records.append({"merge": merge, "scale": 0.0, "point": start[0], "norm": 0.0, **values})
    frame = pd.DataFrame(records)
    return frame if frame.empty else frame.sort_values(["merge", "scale"], kind="stable", ignore_index=True)


def pruned_frame(results: Results) -> pd.DataFrame:
    """Pruned points to place on the λ path: those of the ablation without control, else those of the main view."""
    cut = results.points.index[(results.points["criterion"] != "none") & (results.points["control"] == "none")]
    views = (
        [point for point in results.in_view(view) if point in cut and unpruned(results, point) is not None]
        for view in ("ablation", "main")
    )
    inside = next((found for found in views if found), [])
    extra = varying(results, inside, EXTRA[1:])
    rows = []
    for point in inside:
        settings = results.points.loc[point]
        rows.append(
            {
                "merge": settings["merge"],
                "criterion": settings["criterion"],
                "prune_ratio": float(settings["prune_ratio"]),
                "variant": variant(settings, extra),
                "norm": relative_norm(results, point),
                **summary(results, grid(results, point)),
            }
        )
    return pd.DataFrame(rows, columns=["merge", "criterion", "prune_ratio", "variant", "norm", "mean", "sd", "delta"])


@table("shrinkage", "The λ path of the unpruned merge", "3 Pruning")
def shrinkage_table(results: Results) -> Table:
    """The unpruned merge scaled by λ, from zero-shot (λ = 0) upwards, with the norm of its update. This is what a
    pruned merge must beat at its own norm (figure): a gain that lies on the curve is a gain of shrinking."""
    columns = [
        Column("λ", lambda row: f"{row['scale']:g}"),
        Column("norm", number("norm", "{:.2f}")),
        Column("accuracy", percent("mean", "sd", "delta")),
        Column("Δ", points("delta", "delta_sd", mark=True)),
        Column("worst domain", worst_domain),
        Column("n", images_and_seeds),
    ]
    return Table(shrinkage_frame(results), columns, EMPTY_PATH, section="merge", notes=PATH_NOTES)


def _identity(results: Results, point: str) -> tuple[str, ...]:
    return tuple(str(value) for value in results.points.loc[point, list(IDENTITY)])


def _without_anchors(results: Results, point: str) -> tuple[str, ...]:
    """(criterion, then what random pruning shares with every criterion): it reads neither anchors nor gradients."""
    shared = ["criterion", "merge_key", "prune_ratio", "space", "scope", "rescale", "scale", "control"]
    return tuple(str(value) for value in results.points.loc[point, shared])


def _average(results: Results, point: str | None) -> np.ndarray:
    """Average over domains per seed (S,); NaN where the plan has no such point."""
    return domain_average(grid(results, point or ""))


def _pair(name: str, values: tuple[float, float, int]) -> dict[str, float]:
    return {name: values[0], f"{name}_sd": values[1]}


def _beyond_random(row: pd.Series) -> str:
    return "–" if row["criterion"] == "random" else points("beyond_random", "beyond_random_sd")(row)


def _section(row: pd.Series) -> str:
    return f"ρ = {row['prune_ratio']:g}" + (f", {row['variant']}" if row["variant"] else "")
