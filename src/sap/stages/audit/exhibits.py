"""The audit: what the merges of the main table do with their clients, as numbers and as one sentence per method."""

import numpy as np
import pandas as pd

from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import Cell, Column, Table, is_missing, number, text

EMPTY = "This experiment holds no audited merges."
EXACT = 1e-4  # a relative change below this is rounding, not a property
NOTES = (
    "Least squares of the merged update on the clients' updates as the method received them (pruned, rescaled), layer "
    "by layer, weighted by energy; means over held-out domains, of the first seed.",
    "Weight: of one client (smallest to largest client). 1/weight: d in D* = (1/d) Σ D_k. In no client: energy that no "
    "combination of the clients explains; cross terms: what of it products B_j A_k of two clients' factors explain. "
    "Norm: against the mean norm of a client. "
    "Survivors: clients that are not zero at an entry.",
    "More than half: the client with more than half of a fold's absolute weights (of two clients: three quarters), "
    "the largest over the folds. It outweighs all others together, so the result is that client's more than anybody "
    "else's: look at its sample count, its norm and its statistics, which are the client's own word.",
    "Order, scale: relative change of the result when the clients come in reverse, or are doubled and it is halved.",
)
MEANS = ["unexplained", "cross", "norm_ratio", "survivors", "order", "scale", "rank"]


def audit_frame(results: Results, per_layer: bool = False) -> pd.DataFrame:
    """One row per audited point (per_layer: and layer): weights of the clients, MEANS, denominator and the sentence."""
    records = []
    for point in results.in_view("main"):
        rows = results.audit[results.audit["point"] == point]
        groups = rows.groupby("layer", sort=False) if per_layer else [("all", rows)]
        records += [_summary(results, point, layer, group) for layer, group in groups if len(group)]
    columns = [
        "point", "method", "layer", "weight", "weight_low", "weight_high", "denominator", "dominant", "dominant_share",
        *MEANS, "clients", "sentence",
    ]  # fmt: skip
    return pd.DataFrame(records, columns=columns)


@table("audit", "What each merge really does with its clients", "4 Updates and merges", reads=("audit",))
def audit_table(results: Results) -> Table:
    """What each merge does with its clients: their weights by least squares, who has more than half of them and so
    outweighs all others, the energy that no client explains (cross terms), the norm against a client's, how many
    clients are left at an entry, whether order and scale of the updates matter, the rank. The sentence at the end of a
    row says all of it; weights far from 1/K or large cross terms mean that the method is no average."""
    return Table(audit_frame(results), [*_columns(), Column("in words", text("sentence"))], EMPTY, notes=NOTES)


@table("audit_layers", "What each merge does in every layer", "4 Updates and merges", reads=("audit",))
def audit_layers_table(results: Results) -> Table:
    """The audit layer by layer: weights, cross terms, norm, survivors, equivariances and rank of every merge in every
    layer. Where a method's average looks harmless, look here for the layer in which one client rules or the norm
    explodes."""
    frame = audit_frame(results, per_layer=True).drop(columns="sentence")
    columns = _columns()
    return Table(frame, [columns[0], Column("layer", text("layer")), *columns[1:]], EMPTY, notes=NOTES)


def sentence(row: pd.Series) -> str:
    """The row in words: `each client weighs 1/9, 74 % of the energy is cross terms, ...`."""
    if is_missing(row["weight"]):
        return "the result is zero: no client counts"
    spread = row["weight_high"] - row["weight_low"]
    if spread <= 0.01 * abs(row["weight"]):
        parts = [f"each client weighs {fraction(row['weight'])}"]
    else:
        parts = [f"the clients weigh {_small(row['weight_low'])} to {_small(row['weight_high'])}"]
    if row["dominant"]:
        parts.append(f"{row['dominant']} outweighs all others with {100 * row['dominant_share']:.2g} %")
    share = 100 * row["unexplained"]
    parts.append("nothing else" if share < 0.05 else f"{share:.2g} % of the energy {_rest(row)}")
    parts.append(f"{row['norm_ratio']:.2g} × the norm of a client")
    if row["survivors"] < row["clients"] - 0.005:
        parts.append(f"{row['survivors']:.2g} of {row['clients']:g} clients are left at an entry")
    parts.append(f"rank {row['rank']:.0f}")
    if row["order"] > EXACT:
        parts.append(f"the order of the clients moves it by {100 * row['order']:.2g} %")
    if row["scale"] > EXACT:
        parts.append(f"doubling the updates does not double it ({100 * row['scale']:.2g} % off)")
    return ", ".join(parts)


def _rest(row: pd.Series) -> str:
    """Where the energy comes from that is no client's."""
    if row["cross"] > 0.95 * row["unexplained"]:
        return "is cross terms"
    crossed = f" ({100 * row['cross']:.2g} % cross terms)" if row["cross"] > 0.05 * row["unexplained"] else ""
    return f"is in no client{crossed}"


def _small(value: float) -> str:
    return "0" if abs(value) < 5e-4 else f"{value:.2g}"


def fraction(value: float) -> str:
    """`1/3` where the value is within a percent of one over a whole number up to 100, else two digits."""
    whole = round(1 / value) if value > 0 else 0
    return f"1/{whole}" if 1 < whole <= 100 and abs(value * whole - 1) < 0.01 else f"{value:.2g}"


def _summary(results: Results, point: str, layer: str, rows: pd.DataFrame) -> dict[str, object]:
    """Means over the rows, weighted by the energy of the merged layer where a quantity is a share or a ratio."""
    energy = rows["energy"].to_numpy(float)
    weights = energy / energy.sum() if energy.sum() else np.full(len(rows), 1 / len(rows))
    each = pd.DataFrame(list(rows["coefficients"]), index=rows.index).mul(weights, axis=0)
    # a client is absent from the folds of its own domain: its weight is the mean over the folds that it is in
    present = pd.DataFrame(list(rows["coefficients"]), index=rows.index).notna().mul(weights, axis=0).sum()
    clients = (each.sum() / present.replace(0, np.nan)).to_numpy(float)
    means = {name: float((rows[name].astype(float) * weights).sum()) for name in MEANS}
    dead = not energy.sum()
    name, share = ("", np.nan) if dead else heaviest(rows)
    denominators = rows["denominator"].astype(float)
    record = {
        "point": point,
        "method": results.points.loc[point, "label"],
        "layer": layer,
        "weight": np.nan if dead else float(np.nanmean(clients)),
        "weight_low": np.nan if dead else float(np.nanmin(clients)),
        "weight_high": np.nan if dead else float(np.nanmax(clients)),
        "denominator": float(1 / (weights / denominators).sum()) if denominators.notna().all() else np.nan,
        "dominant": name,
        "dominant_share": share,
        **means,
        "clients": float(rows["coefficients"].map(len).mean()),
    }
    return record | {"sentence": sentence(pd.Series(record))}


def heaviest(rows: pd.DataFrame) -> tuple[str, float]:
    """(client, share) of who outweighs all others in a fold, the largest share over the folds; ("", NaN) for nobody.

    The share is of a fold's absolute weights, and must exceed `too_heavy`. Fold by fold, because a client that is
    absent from one would look lighter in a mean.
    """
    found = []
    for _, fold in rows.groupby(["target", "seed"]):
        each = pd.DataFrame(list(fold["coefficients"])).mul(fold["energy"].to_numpy(float), axis=0).sum().abs()
        if each.sum() and each.max() / each.sum() > too_heavy(len(each)) + EXACT:
            found.append((float(each.max() / each.sum()), str(each.idxmax())))
    share, name = max(found, default=(np.nan, ""))
    return name, share


def too_heavy(clients: int) -> float:
    """The share from which a client is named: 1/2, where it counts for more than all others together.

    Of two clients one nearly always has more than that: there it is three quarters, 1.5 times the even share.
    """
    return max(1 / 2, 1.5 / clients)


def _columns() -> list[Column]:
    return [
        Column("method", text("method")),
        Column("weight", _weights),
        Column("1/weight", number("denominator", "{:.3g}", absent="–")),
        Column("more than half", _dominant),
        Column("in no client, %", number("unexplained", "{:.2f}", 100)),
        Column("cross terms, %", number("cross", "{:.2f}", 100)),
        Column("norm", number("norm_ratio", "{:.3f}", absent="–")),
        Column("survivors", _survivors),
        Column("order", _change("order")),
        Column("scale", _change("scale")),
        Column("rank", number("rank", "{:.1f}")),
    ]


def _weights(row: pd.Series) -> str:
    if is_missing(row["weight"]):
        return "–"
    spread = f" ({_near(row['weight_low'])} to {_near(row['weight_high'])})"
    return _near(row["weight"]) + (spread if row["weight_high"] - row["weight_low"] > 5e-4 else "")


def _dominant(row: pd.Series) -> str:
    return f"{row['dominant']} ({row['dominant_share']:.2f})" if row["dominant"] else "–"


def _near(value: float) -> str:
    """Three decimals, and no minus before a rounded zero."""
    return f"{value:.3f}".replace("-0.000", "0.000")


def _survivors(row: pd.Series) -> str:
    return f"{row['survivors']:.2f} of {row['clients']:g}"


def _change(name: str) -> Cell:
    return lambda row: "0" if row[name] <= EXACT else f"{row[name]:.1e}"
