"""Table `attack_folds`: what an attack costs where all domains are clients and tested, beside leave-one-out."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from sap.findings.scenarios import (
    EVERYONE,
    Chosen,
    Level,
    Scenario,
    attacks,
    clients_of,
    common_seeds,
    effect_of,
    images_of,
    lacks,
    level,
    minus,
    owns,
    scenarios,
)
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import Column, Table, effect_columns, interval, is_missing, number, text

ALL_DOMAINS, LEFT_OUT = "all domains are clients", "one domain is left out"
EMPTY = "This experiment merges no attacked clients of all domains; points with `judged_on: everyone` make it do so."
NOTES = (
    "Points lost, clean − attacked, on the same images and seeds, mean over attackers, with 95 % interval. All domains "
    "are clients: tested on all of them, the attacker's own among them. One domain is left out: tested on that one.",
    "Reported: what a table of that setting would show, the average over its test domains. Weight: coefficient of the "
    "attacker in the least-squares fit of the merge; a mean of K clients gives 1/K, a product of means 1/K². "
    "n: attackers × seeds × test images.",
)


def folds_frame(results: Results) -> pd.DataFrame:
    """Two rows per attack and merge: attack, defence, setting, clients, attacker_weight, own, others, held_out and
    reported (points lost with interval, NaN where the setting does not test them), attackers, seeds, images."""
    records = []
    for attack in attacks(results):
        for scenario in scenarios(results, attack, "everyone"):
            for setting, fold in ((ALL_DOMAINS, EVERYONE), (LEFT_OUT, None)):
                losses = losses_of(results, scenario, fold)
                reported = losses("all")
                parts = ("own", "others") if fold else ("held_out",)
                shown = dict.fromkeys(("own", "others", "held_out")) | {part: losses(part) for part in parts}
                records.append(
                    {
                        "attack": attack,
                        "defence": scenario.defence,
                        "setting": setting,
                        "clients": len(clients_of(results, fold or results.targets[0])),
                        "attacker_weight": weight_of(results, scenario, fold),
                        **{
                            column: value
                            for name, found in (*shown.items(), ("reported", reported))
                            for column, value in effect_columns(name, effect_of(found)).items()
                        },
                        "attackers": len(scenario.points),
                        "seeds": len(_seeds(results, scenario)),
                        "images": images_of(reported),
                    }
                )
    return pd.DataFrame(records)


@table("attack_folds", "The attack where all domains are clients, beside leave-one-out", "5 Attacks")
def folds_table(results: Results) -> Table:
    """Points lost to the attack where every domain has a client and all domains are tested, beside leave-one-out.
    Compare the attacker's own domain with the reported average, and the attacker's weight in a mean (1/K) with that in
    a product of means."""

    def lost(name: str) -> Callable[[pd.Series], str]:
        return lambda row: "–" if is_missing(row[name]) else interval(name)(row)

    columns = [
        Column("merge", text("defence")),
        Column("setting", text("setting")),
        Column("K", number("clients")),
        Column("weight", number("attacker_weight", "{:.3f}")),
        Column("attacker's domain", lost("own")),
        Column("other domains", lost("others")),
        Column("held-out domain", lost("held_out")),
        Column("reported", interval("reported")),
        Column("n", lambda row: f"{row['attackers']} × {row['seeds']} × {row['images']:,}"),
    ]
    return Table(folds_frame(results), columns, EMPTY, section="attack", notes=NOTES)


def losses_of(results: Results, scenario: Scenario, fold: str | None) -> Callable[[str], Level | None]:
    """What the attack costs on a part of the test domains: `own` (the attackers'), `others`, or `all`."""
    seeds = _seeds(results, scenario)
    chosen: dict[str, Chosen] = {"own": owns(results), "others": lacks(results)}

    def losses(part: str) -> Level | None:
        which = {"chosen": chosen[part]} if part in chosen else {}
        return minus(*(level(results, points, seeds, fold, **which) for points in (scenario.twins, scenario.points)))

    return losses


def weight_of(results: Results, scenario: Scenario, fold: str | None) -> float:
    """Coefficient of the attackers in the merge, mean over attackers, seeds and the folds of the setting."""
    rows = results.rows[results.rows["point"].isin(scenario.points.values())]
    rows = rows[(rows["target"] == fold) if fold else (rows["target"] == rows["domain"])]
    return float(np.mean(rows["attacker_weight"].astype(float))) if len(rows) else np.nan


def _seeds(results: Results, scenario: Scenario) -> list[int]:
    return common_seeds(results, [*scenario.points.values(), scenario.clean])
