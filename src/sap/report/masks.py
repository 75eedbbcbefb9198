"""Do masks agree across draws and sizes of the anchors, and with pruning by magnitude (C6)?"""

from itertools import combinations

import numpy as np
import pandas as pd

from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import Column, Table, effect_columns, interval, number, spread
from sap.stats.effect import MISSING_EFFECT, Effect, crossed_effect
from sap.stats.pairs import member_values
from sap.stats.summary import summarise

DRAWS, SIZES, BLIND = "another draw, as many anchors", "the same draw, more anchors", "magnitude, no anchors"
EMPTY = "This experiment compares no masks (evidence.masks)."
NOTES = (
    "Masks of one client's update at ρ, one threshold per layer. Jaccard: entries that both masks keep over those that "
    "one of them keeps; chance: independent masks. Spearman: rank correlation of the scores, whatever ρ. Mean ± sd "
    "over clients, each a mean over its seeds and pairs of masks (the last factor of n). A draw's larger sets hold its "
    "smaller ones.",
    "Above chance: Jaccard − chance in points with 95 % interval over draws (pairs of draws that share one are not "
    "independent, and not taken as such), seeds and clients.",
)


def compared(results: Results) -> pd.DataFrame:
    """masks.csv with `comparison` (DRAWS, SIZES, BLIND) and `size`, `other_size` (0: none), without other pairs."""
    masks = results.evidence["masks"]
    if masks.empty:
        return masks
    blind, alike = masks["draw_b"] == "magnitude", masks["draw_a"] == masks["draw_b"]
    equal = masks["size_a"] == masks["size_b"]
    comparison = np.select([blind, alike & ~equal, ~alike & equal], [BLIND, SIZES, DRAWS], default="")
    sizes = {"size": masks[["size_a", "size_b"]].min(axis=1), "other_size": masks[["size_a", "size_b"]].max(axis=1)}
    masks = masks.assign(comparison=comparison, **sizes)
    masks.loc[blind, ["size", "other_size"]] = masks.loc[blind, ["size_a", "size_b"]].to_numpy()
    return masks[masks["comparison"] != ""]


def masks_effect(results: Results, ratio: float, size: int | None = None) -> Effect:
    """Jaccard − chance of masks from different draws of `size` anchors (None: the largest) at one ρ, a share.

    Draws × seeds × clients (`images` counts the clients); with two draws it holds for these two. Missing with one draw
    or client, or where a pair or seed is absent.
    """
    rows = compared(results)
    if rows.empty:
        return MISSING_EFFECT
    rows = rows[(rows["comparison"] == DRAWS) & (rows["ratio"] == ratio)]
    rows = rows[rows["size"] == (rows["size"].max() if size is None else size)]
    draws = sorted({*rows["draw_a"], *rows["draw_b"]}, key=int)
    pairs, clients = list(combinations(draws, 2)), list(dict.fromkeys(rows["client"]))
    both = map(frozenset, zip(rows["draw_a"], rows["draw_b"], strict=True))
    found = dict(
        zip(zip(rows["seed"], rows["client"], both, strict=True), rows["jaccard"] - rows["chance"], strict=True)
    )
    values = np.array(
        [[[found.get((s, c, frozenset(pair)), np.nan) for pair in pairs] for c in clients] for s in results.seeds]
    )  # (S, clients, pairs)
    if not pairs or len(clients) < 2:
        return MISSING_EFFECT
    by_draw = member_values(values, pairs) if len(draws) > 2 else values
    return crossed_effect([np.moveaxis(by_draw, -1, 0)])


def masks_frame(results: Results) -> pd.DataFrame:
    """One row per ρ, comparison and size(s).

    Columns: ratio, comparison, size, other_size, jaccard, jaccard_sd, chance, spearman, spearman_sd, above_chance with
    _low and _high (draws only), clients, seeds, pairs (of masks, for one client and seed).
    """
    rows = compared(results)
    records = []
    keys = ["ratio", "comparison", "size", "other_size"]
    for (ratio, comparison, size, other), group in rows.groupby(keys, sort=False) if len(rows) else ():
        record = {"ratio": ratio, "comparison": comparison, "size": size, "other_size": other}
        for name in ("jaccard", "spearman"):
            total = summarise(group.groupby("client")[name].agg(lambda values: values.mean(skipna=False)))
            record |= {name: total.mean, f"{name}_sd": total.sd}
        effect = masks_effect(results, ratio, size) if comparison == DRAWS else MISSING_EFFECT
        records.append(
            record
            | {"chance": group["chance"].iloc[0]}
            | effect_columns("above_chance", effect)
            | {"clients": group["client"].nunique(), "seeds": group["seed"].nunique()}
            | {"pairs": len(group[["draw_a", "draw_b"]].drop_duplicates())}
        )
    frame = pd.DataFrame(records)
    if frame.empty:
        return frame
    rank = frame["comparison"].map([DRAWS, SIZES, BLIND].index)
    order = ["ratio", "rank", "size", "other_size"]
    return frame.assign(rank=rank).sort_values(order, ignore_index=True).drop(columns="rank")


@table("masks", "How far masks agree across anchor draws and sizes", "3 Pruning", reads=())
def masks_table(results: Results) -> Table:
    """How far the masks of one client agree when the anchors change in draw or number, and with masks that read no
    anchors. Enough anchors make masks agree far above chance; masks that agree with magnitude as well owe nothing to
    the anchors.
    """
    frame = masks_frame(results)
    if not frame.empty:
        frame.insert(0, "section", [f"ρ = {ratio:g}" for ratio in frame["ratio"]])
    columns = [
        Column("mask from", lambda row: f"{row['size']} anchors"),
        Column("compared with", _other),
        Column("Jaccard", spread("jaccard")),
        Column("chance", number("chance", "{:.2f}")),
        Column("above chance", lambda row: interval("above_chance")(row) if row["comparison"] == DRAWS else "–"),
        Column("Spearman", spread("spearman")),
        Column("n", lambda row: f"{row['clients']} clients × {row['seeds']} seeds × {row['pairs']}"),
    ]
    return Table(frame, columns, EMPTY, section="section", notes=NOTES)


def _other(row: pd.Series) -> str:
    return row["comparison"] + (f" ({row['other_size']})" if row["comparison"] == SIZES else "")
