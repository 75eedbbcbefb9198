"""What average accuracy hides: balanced accuracy, the worst domain and client, calibration, the share of the room."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sap.findings.main import images_and_seeds, main_frame, worst_domain
from sap.report.effects import difference
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.outcomes import whole
from sap.report.scores import grid
from sap.report.table import BELOW, Column, Table, effect_columns, interval, is_missing, number, percent
from sap.stats.effect import MISSING_EFFECT
from sap.stats.metrics import balanced_accuracy, ece, nll, normalised
from sap.stats.rliable import iqm, stratified_interval
from sap.stats.summary import domain_average, summarise
from sap.stats.ties import smallest

EMPTY = "This experiment holds no points for the main table."
NOTES = (
    "Held-out domains, mean over seeds and domains, in percent. Balanced: mean over classes. Worst client: lowest "
    "accuracy on the clients' own domains, where the point was judged there. ECE: 15 equal bins. NLL: in nats.",
    "Δ: points above zero-shot [95 % interval over anchor draws, seeds and images]; ↓ below zero-shot. Normalised: the "
    "way from zero-shot (0) to the better of pooled and oracle (1); no room where that is under two points.",
    "IQM: mean of the middle half of the (seed, domain) runs [95 % interval, seeds resampled within domains; −inf, inf "
    "where no two differ] (Agarwal et al. 2021). n: test images of all held-out domains × seeds.",
)

Read = Mapping[str, NDArray]
PER_RUN: dict[str, Callable[[Read], float]] = {
    "balanced": lambda read: balanced_accuracy(read["predicted"], read["labels"]),
    "ece": lambda read: ece(read["probability"], read["predicted"] == read["labels"]),
    "nll": lambda read: nll(read["true_probability"]),
}


def metrics_frame(results: Results) -> pd.DataFrame:
    """One row per point of the main table, floors and ceilings among them; shares in [0, 1], NLL in nats.

    method, mark, group, kind, point, accuracy, sd, balanced, ece, nll, worst, worst_domain, worst_client, worst_of,
    delta with _low and _high, below_zero_shot, normalised, room (None: no ceiling was judged), iqm with _low and _high,
    images, seeds.
    """
    table = main_frame(results)
    table = table[table["point"].notna()] if len(table) else table
    start = next(iter(results.of_kind("zero_shot")), None)
    means = {kind: _mean(results, kind) for kind in ("zero_shot", "pooled", "oracle")}
    room = np.fmax(means["pooled"], means["oracle"]) - means["zero_shot"]
    records = []
    for row in table.to_dict("records"):
        point = row["point"]
        change = MISSING_EFFECT if point == start else difference(results, point, start)
        client, least = worst_client(results, point)
        records.append(
            {name: row[name] for name in ("method", "mark", "group", "kind", "point")}
            | {"accuracy": row["mean"], "sd": row["sd"], **per_run(results, point)}
            | {"worst": row["worst"], "worst_domain": row["worst_domain"], "worst_client": least, "worst_of": client}
            | effect_columns("delta", change)
            | {"below_zero_shot": None if np.isnan(change.estimate) else change.estimate < 0}
            | {"normalised": normalised(row["mean"], means["zero_shot"], means["zero_shot"] + room), "room": room}
            | _iqm(grid(results, point).to_numpy())
            | {"images": row["images"], "seeds": row["seeds"]}
        )
    return pd.DataFrame(records)


def per_run(results: Results, point: str) -> dict[str, float]:
    """Mean of each of PER_RUN over the (target, seed) runs of a point; NaN where one is missing."""
    reads = whole(
        results.outcomes.read(point, target, seed)
        for target in results.targets
        for seed in results.outcomes.seeds_of(point)
    )
    if not reads:
        return dict.fromkeys(PER_RUN, np.nan)
    return {name: float(np.mean([metric(read) for read in reads])) for name, metric in PER_RUN.items()}


def worst_client(results: Results, point: str) -> tuple[str | None, float]:
    """(client, accuracy) of the lowest mean over folds and seeds on a client's own domains; (None, NaN): not judged."""
    scores: dict[str, list[float]] = {}
    found = results.accuracy.loc[point].to_dict() if point in results.accuracy.index else {}
    for (target, seed), clients in results.folds.items():
        if target in results.targets:
            for client in clients:
                own = results.client_domains.get(client, ())
                scores.setdefault(client, []).extend(found.get((target, seed, domain), np.nan) for domain in own)
    means = {client: summarise(values).mean for client, values in scores.items()}
    if not means or any(np.isnan(value) for value in means.values()):
        return None, np.nan
    worst = smallest(means)
    return worst, means[worst]


@table("metrics", "Balanced accuracy, worst domain and client, calibration, share of the room", "2 Accuracy")
def metrics_table(results: Results) -> Table:
    """Every method of the main table with its balanced accuracy, worst domain and client, calibration, and the share of
    the room that it uses. Read Δ with its interval, and the worst columns before the average: a mean can rise while a
    client loses."""
    columns = [
        Column("method", lambda row: row["method"] + row["mark"]),
        Column("accuracy", percent("accuracy", "sd")),
        Column("balanced", percent("balanced")),
        Column("worst domain", worst_domain),
        Column("worst client", _worst_client),
        Column("ECE", percent("ece")),
        Column("NLL", number("nll", "{:.3f}")),
        Column("Δ", _delta),
        Column("normalised", _normalised),
        Column("IQM", interval("iqm", sign="")),
        Column("n", images_and_seeds),
    ]
    return Table(metrics_frame(results), columns, EMPTY, section="group", notes=NOTES)


def _mean(results: Results, kind: str) -> float:
    """Average held-out accuracy of the reference of this kind; NaN without one."""
    point = next(iter(results.of_kind(kind)), None)
    return summarise(domain_average(grid(results, point))).mean if point else np.nan


def _iqm(scores: NDArray) -> dict[str, float]:
    low, high = (np.nan, np.nan) if np.isnan(scores).any() else stratified_interval(scores)
    return {"iqm": float(iqm(scores)), "iqm_low": low, "iqm_high": high}


def _delta(row: pd.Series) -> str:
    if row["kind"] == "zero_shot":
        return "–"
    return interval("delta")(row) + (f" {BELOW}" if row["below_zero_shot"] else "")


def _normalised(row: pd.Series) -> str:
    if is_missing(row["normalised"]) and not is_missing(row["room"]) and not is_missing(row["accuracy"]):
        return "no room"
    return number("normalised", "{:.2f}")(row)


def _worst_client(row: pd.Series) -> str:
    known = not is_missing(row["worst_client"])
    return f"{100 * row['worst_client']:.1f} ({row['worst_of']})" if known else percent("worst_client")(row)
