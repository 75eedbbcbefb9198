"""How much of a pruned merge's accuracy is luck: of the anchor draw, of the training seed, of the test images."""

import numpy as np
import pandas as pd

from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.outcomes import draws_of
from sap.report.scores import variant, varying
from sap.report.table import Column, Table, number, percent, text
from sap.stats.components import variance_components

EMPTY = "This experiment holds no pruned point on more than one anchor draw."
EXTRA = ("criterion", "merge", "space", "alignment", "reduction", "anchor_pool", "scope", "rescale", "scale")
PARTS = ("draw", "seed", "image")
NOTES = (
    "Standard deviation, in points, of the accuracy averaged over the held-out domains: what another anchor draw, "
    "training seed or set of test images would change, and their interactions. 0.00: less than can be told from these.",
    "SE: standard error of the mean over all draws, seeds and images of the row; in brackets the part of its square "
    "that draws / seeds / images make on their own. n: draws × seeds × images.",
)


def variance_frame(results: Results) -> pd.DataFrame:
    """One row per clean pruned point without control on several anchor draws; sd and se are shares of accuracy.

    criterion, prune_ratio, anchor_size, variant, point (its first draw), mean, draw, seed, image, residual (sd each,
    NaN with one level), se, {draw,seed,image}_share (of se², in [0, 1]), draws, seeds, images. NaN: a row is missing.
    """
    points = results.points
    inside = points[(points["kind"] == "merge") & (points["criterion"] != "none") & (points["control"] == "none")]
    inside = inside[(inside["attack"] == "") & inside["anchor_draw"].notna()]
    groups = {draws[0]: draws for draws in (draws_of(points, point) for point in inside.index) if len(draws) > 1}
    extra = varying(results, list(groups), EXTRA)
    records = [
        {name: points.loc[first, name] for name in ("criterion", "prune_ratio", "anchor_size")}
        | {"variant": variant(points.loc[first], extra), "point": first, **components(results, draws)}
        for first, draws in groups.items()
    ]
    frame = pd.DataFrame(records)
    if frame.empty:
        return frame
    frame = frame.astype({"prune_ratio": float, "anchor_size": float})
    return frame.sort_values(["variant", "prune_ratio", "anchor_size"], kind="stable", ignore_index=True)


def components(results: Results, draws: list[str]) -> dict[str, float]:
    """Mean, standard deviations and shares of one point on these draws; see `variance_frame`."""
    held_out = [results.outcomes.held_out(point) for point in draws]
    if any(arrays is None for arrays in held_out):
        names = ("mean", *PARTS, "residual", "se", *(f"{part}_share" for part in PARTS))
        return dict.fromkeys(names, np.nan) | {"draws": len(draws), "seeds": 0, "images": 0}
    values = [np.stack(domain) for domain in zip(*held_out, strict=True)]
    found = variance_components(values)
    total = found["mean_se"] ** 2
    levels = {"draw": values[0].shape[0], "seed": values[0].shape[1], "image": 1}
    return {
        "mean": float(np.mean([value.mean() for value in values])),
        **{name: float(np.sqrt(found[name])) for name in (*PARTS, "residual")},
        "se": found["mean_se"],
        **{f"{part}_share": found[part] / levels[part] / total if total else np.nan for part in PARTS},
        "draws": levels["draw"],
        "seeds": levels["seed"],
        "images": sum(value.shape[2] for value in values),
    }


@table("variance", "What the anchor draw, the training seed and the test images make of the spread", "2 Accuracy")
def variance_table(results: Results) -> Table:
    """Spread of the pruned merges' accuracy between anchor draws, training seeds and sets of test images. The largest
    column says what to have more of; an effect smaller than the standard error is not one."""
    frame = variance_frame(results)
    shown = [] if frame.empty or not frame["variant"].any() else [Column("variant", text("variant"))]
    columns = [
        Column("ρ", number("prune_ratio", "{:g}")),
        *shown,
        Column("anchors", number("anchor_size", absent="all")),
        Column("accuracy", percent("mean")),
        *(Column(f"sd, {name}s", number(name, "{:.2f}", 100.0, absent="–")) for name in PARTS),
        Column("sd, interactions", number("residual", "{:.2f}", 100.0)),
        Column("SE", _se),
        Column("n", lambda row: f"{row['draws']} × {row['seeds']} × {row['images']}"),
    ]
    return Table(frame, columns, EMPTY, notes=NOTES)


def _se(row: pd.Series) -> str:
    shares = " / ".join(number(f"{part}_share", "{:.0f} %", 100.0, absent="–")(row) for part in PARTS)
    return f"{number('se', '{:.2f}', 100.0)(row)} ({shares})"
