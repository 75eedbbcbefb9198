"""Seen against unseen: methods on the held-out and on the clients' own domains, and every client on every domain."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sap.findings.main import main_frame
from sap.report.exhibit import figure, table
from sap.report.frame import Results
from sap.report.scores import grid
from sap.report.style import INK, MUTED, SHARE, TWO_COLUMNS, blank, colour_of, heatmap, panels, short, tilted
from sap.report.table import Column, Table, is_missing, mean_sd, number, percent, points, text
from sap.stats.summary import difference, domain_average, summarise

EMPTY = "This experiment holds no methods on seen and unseen domains."
EMPTY_CLIENTS = "This experiment evaluates no single client."
NOTES = (
    "Accuracy in percent, mean ± sd over seeds. Unseen: the held-out domain, averaged over folds. Seen: the domains "
    "of the fold's clients, averaged over them and over folds. Gap = unseen − seen, in points, paired by seed.",
)
MATRIX_NOTES = (
    "Accuracy in percent of each client alone, mean over seeds and over the folds that hold it; "
    "* the client's own domain (its test images).",
)
TRAINING_NOTES = (
    "Accuracy in percent on the test images of the client's own domain, mean ± sd over seeds. Δ: points above "
    "zero-shot there, paired by seed; ↓ below zero-shot. Validation: after training, on the client's val images.",
)


def seen_grid(results: Results, point: str) -> pd.DataFrame:
    """Mean accuracy on the seen domains of each fold: index seeds (S), columns targets (D)."""
    values = pd.DataFrame(np.nan, index=results.seeds, columns=results.targets)
    for (target, seed), clients in results.folds.items():
        trained = {domain for client in clients for domain in results.client_domains.get(client, ())}
        keys = [(point, target, seed, domain) for domain in results.domains if domain in trained and domain != target]
        if keys:
            values.loc[seed, target] = results.accuracy.reindex(pd.MultiIndex.from_tuples(keys)).to_numpy().mean()
    return values


def seen_unseen_frame(results: Results) -> pd.DataFrame:
    """One row per point of the main table that is judged on seen domains, too.

    Columns: method, mark, kind, criterion, point, unseen, seen, gap with their sd, seeds.
    """
    records = []
    table = main_frame(results)
    for row in table.to_dict("records") if len(table) else []:
        if is_missing(row["point"]) or row["kind"] == "oracle":
            continue  # an oracle trains on the target: it has no unseen domain
        if "clients" not in results.points.loc[row["point"], "judged_on"]:
            continue
        unseen, seen = (
            domain_average(values) for values in (grid(results, row["point"]), seen_grid(results, row["point"]))
        )
        record = {name: row[name] for name in ("method", "mark", "kind", "criterion", "point")}
        for name, values in (("unseen", unseen), ("seen", seen)):
            total = summarise(values)
            record |= {name: total.mean, f"{name}_sd": total.sd}
        gap = difference(unseen, seen)
        records.append(record | {"gap": gap.mean, "gap_sd": gap.sd, "seeds": gap.n})
    return pd.DataFrame(records)


def client_accuracy(results: Results) -> pd.DataFrame:
    """Accuracy of clients alone and of zero-shot, one row per name × seed × domain (mean over the folds that hold it).

    Columns: name (`zero-shot` or the client), seed, domain, accuracy. Domains without rows are absent.
    """
    points = results.points[results.points["kind"].isin(["client", "zero_shot"]) & (results.points["attack"] == "")]
    rows = results.rows[results.rows["point"].isin(points.index)]
    names = points["client"].where(points["kind"] == "client", "zero-shot")
    rows = rows.assign(name=rows["point"].map(names.to_dict()))
    return rows.groupby(["name", "seed", "domain"], as_index=False)["accuracy"].mean()


def client_matrix_frame(results: Results) -> pd.DataFrame:
    """One row for zero-shot and each evaluated client, as in client_domains: client, trained_on, accuracy__{domain},
    sd__{domain}."""
    scores = client_accuracy(results).set_index(["name", "seed", "domain"])["accuracy"]
    evaluated = set(results.points.loc[results.of_kind("client"), "client"])
    clients = [name for name in results.client_domains if name in evaluated]
    records = []
    for name in (["zero-shot"] if clients and results.of_kind("zero_shot") else []) + clients:
        own = results.client_domains.get(name, ())
        record: dict[str, Any] = {"client": name, "trained_on": "+".join(own)}
        for domain in results.domains:
            keys = pd.MultiIndex.from_tuples([(name, seed, domain) for seed in results.seeds])
            total = summarise(scores.reindex(keys).to_numpy())
            record |= {f"accuracy__{domain}": total.mean, f"sd__{domain}": total.sd}
        records.append(record)
    return pd.DataFrame(records)


def trainings_frame(results: Results) -> pd.DataFrame:
    """One row per client: own-domain test accuracy, zero-shot there (mean over its domains), Δ, facts of training."""
    scores = client_accuracy(results).set_index(["name", "seed", "domain"])["accuracy"]
    clients = results.trainings[results.trainings["kind"] == "client"]
    records = []
    for name, trained in clients.groupby("name", sort=False):
        domains, seeds = trained["domains"].iloc[0], list(trained["seed"])
        own, start = (_own_domain(scores, key, seeds, domains) for key in (name, "zero-shot"))
        change = difference(own, start)
        records.append(
            {
                "client": name,
                "trained_on": "+".join(domains),
                "corrupted": trained["corrupted"].iloc[0],
                "samples": trained["sample_count"].mean(skipna=False),
                **_pair("accuracy", summarise(own)),
                **_pair("zero_shot", summarise(start)),
                "delta": change.mean,
                "delta_sd": change.sd,
                **_pair("val_accuracy", summarise(trained["val_accuracy"])),
                "seeds": change.n,
            }
        )
    return pd.DataFrame(records)


@table("seen_unseen", "Accuracy on the held-out domain and on the clients' own domains", "2 Accuracy")
def seen_unseen_table(results: Results) -> Table:
    """Each method on the held-out domain (unseen) and on the domains of the clients that were merged (seen). The gap is
    unseen − seen in points; the domains differ in difficulty, so compare gaps with that of zero-shot."""
    columns = [
        Column("method", lambda row: row["method"] + row["mark"]),
        Column("unseen", percent("unseen", "unseen_sd")),
        Column("seen", percent("seen", "seen_sd")),
        Column("gap", points("gap", "gap_sd")),
        Column("seeds", number("seeds")),
    ]
    return Table(seen_unseen_frame(results), columns, EMPTY, notes=NOTES)


@table("client_matrix", "Every client alone on every domain", "2 Accuracy")
def client_matrix_table(results: Results) -> Table:
    """Every client alone on every domain, accuracy in percent; * marks the client's own domain. Compare each column
    with its first row, zero-shot: a client that is below it elsewhere has paid for its own domain."""
    columns = [
        Column("client", text("client")),
        Column("trained on", text("trained_on")),
        *(Column(domain, _matrix_cell(domain)) for domain in results.domains),
    ]
    return Table(client_matrix_frame(results), columns, EMPTY_CLIENTS, notes=MATRIX_NOTES)


@table("trainings", "Every client on the test images of its own domain", "2 Accuracy", reads=())
def trainings_table(results: Results) -> Table:
    """Every client on the test images of its own domain, beside zero-shot there. A client that does not beat zero-shot
    on its own domain has learned nothing that merging could pass on."""
    columns = [
        Column("client", text("client")),
        Column("trained on", text("trained_on")),
        Column("labels", text("corrupted", absent="clean")),
        Column("samples", number("samples")),
        Column("own domain", percent("accuracy", "accuracy_sd")),
        Column("zero-shot", percent("zero_shot")),
        Column("Δ", points("delta", "delta_sd", mark=True)),
        Column("validation", percent("val_accuracy", "val_accuracy_sd")),
        Column("seeds", number("seeds")),
    ]
    return Table(trainings_frame(results), columns, EMPTY_CLIENTS, notes=TRAINING_NOTES)


def _own_domain(scores: pd.Series, name: str, seeds: list[int], domains: tuple[str, ...]) -> np.ndarray:
    keys = [(name, seed, domain) for seed in seeds for domain in domains]
    values = scores.reindex(pd.MultiIndex.from_tuples(keys)).to_numpy()
    return domain_average(values.reshape(len(seeds), len(domains)))


def _matrix_cell(domain: str):
    def cell(row: pd.Series) -> str:
        printed = mean_sd(row[f"accuracy__{domain}"], row[f"sd__{domain}"])
        return (
            f"{printed} *"
            if not is_missing(row[f"accuracy__{domain}"]) and domain in row["trained_on"].split("+")
            else printed
        )

    return cell


def _pair(name: str, values: tuple[float, float, int]) -> dict[str, float]:
    return {name: values[0], f"{name}_sd": values[1]}


@figure("seen_unseen", "Every client on every domain; methods on seen and unseen domains", "2 Accuracy")
def draw_seen_unseen(results: Results) -> Figure:
    """Left: every client alone on every domain, its own domain framed; one that is good only there has learned what
    does not travel. Right: each method on unseen (filled) and seen (open) domains; the shorter the line, the less a
    domain loses by being held out."""
    matrix, methods = client_matrix_frame(results), seen_unseen_frame(results)
    if matrix.empty and methods.empty:
        return blank(EMPTY)
    height = 1.1 + max(0.21 * len(matrix), 0.19 * len(methods), 1.2)
    figure, axes = panels(1, 2, (TWO_COLUMNS, height), width_ratios=(1.1, 1))
    _matrix(axes[0, 0], matrix, results.domains)
    _pairs(axes[0, 1], methods, list(results.points["criterion"].dropna().unique()))
    return figure


def _matrix(axes: Axes, matrix: pd.DataFrame, domains: list[str]) -> None:
    if matrix.empty:
        axes.set_axis_off()
        return
    values = 100 * matrix[[f"accuracy__{domain}" for domain in domains]].to_numpy(dtype=float)
    finite = values[~np.isnan(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 100)
    names = [short(name, 22) for name in matrix["client"]]
    columns = [short(domain, 16) for domain in domains]
    heatmap(axes, values, names, columns, SHARE, Normalize(low - 0.15 * (high - low + 1), high))
    axes.set_xticks(range(len(domains)), columns, **tilted(columns, 2.6 / len(domains)))
    for row, trained in enumerate(matrix["trained_on"]):
        for domain in set(trained.split("+")) & set(domains):
            axes.add_patch(
                Rectangle((domains.index(domain) - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor=INK, linewidth=1)
            )
    axes.set_title("each client alone, accuracy in %")
    axes.set_xlabel("tested on   (framed: the client's own domain)")
    axes.set_ylabel("client")


def _pairs(axes: Axes, methods: pd.DataFrame, criteria: list[str]) -> None:
    for place, (_, row) in enumerate(methods.iterrows()):
        merged = row["kind"] == "merge"
        colour = colour_of(row["criterion"], criteria) if merged else MUTED
        unseen, seen = 100 * row["unseen"], 100 * row["seen"]
        axes.plot([unseen, seen], [place, place], color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(unseen, place, "o", color=colour)
        axes.plot(seen, place, "o", color=colour, markerfacecolor="white")
        if np.isnan(unseen) or np.isnan(seen):
            where = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "center"}
            axes.annotate("missing", (0.98, place), color=MUTED, fontsize=6.5, **where)
    axes.set_yticks(
        range(len(methods)), [short(row["method"]) + row["mark"] for _, row in methods.iterrows()], fontsize=6
    )
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.set_title("● unseen   ○ seen domains")
    axes.set_xlabel("accuracy, %")
