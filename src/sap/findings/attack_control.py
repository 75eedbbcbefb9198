"""Table `attack_control`: is the attacker's own model bad at all? The positive control of every attack."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sap.findings.scenarios import (
    EVERYONE,
    Attackers,
    alone,
    attacks,
    changed,
    common_seeds,
    effect_of,
    images_of,
    level,
    mean_of,
    minus,
    owns,
    stamped,
    target_class,
)
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import Column, Table, effect_columns, interval, number, percent, text
from sap.stats.effect import Effect
from sap.stats.ties import at_least

LEAST_DROP = 0.30  # below zero-shot, for the control to hold
LEAST_SUCCESS = 0.5  # of a backdoor, which leaves all other answers right by design
LEAST_CHANGE = 0.05  # share of predictions: a model that changes fewer is hardly moved
LEAST_NORM = 0.5  # times the clean client's: a smaller update is weak
HOLDS, WITHOUT_TEETH = "positive control holds", "without teeth"
ALL = "all attackers"
EMPTY = "This experiment judges no attacker alone; points with `judged_on: everyone` make it do so."
NOTES = (
    "The attacker's own model, merged with nobody, on the test images of its own domain. Drop: points below zero-shot, "
    "on the same images, with its 95 % interval; attacked and clean are percent right.",
    "Changed: images on which it answers otherwise than zero-shot; 0 would mean that its adapter is not loaded. "
    "Norm: of its update over that of the same client without an attack.",
    f"The positive control holds where the drop is at least {100 * LEAST_DROP:.0f} points, a mean over the attackers, "
    "and its interval lies above 0; of a backdoor, where at least half of the stamped images become the target class. "
    "n: seeds × test images.",
)


def control_frame(results: Results) -> pd.DataFrame:
    """One row per attack and attacker, and one for all attackers together with the verdict.

    attack, client, domain, zero_shot, clean, attacked (shares right), drop (with interval), norm_ratio, changed,
    success (of a backdoor), seeds, images, verdict. Empty where no attacker is judged alone.
    """
    records = []
    for attack in attacks(results):
        attackers = alone(results, attack)
        for attacker, point in attackers.items():
            records.append({"attack": attack, **control(results, {attacker: point})[1], "verdict": ""})
        if attackers:
            drop, together = control(results, attackers)
            records.append({"attack": attack, **together, "verdict": verdict(drop, together)})
    return pd.DataFrame(records)


def verdict(drop: Effect, found: Mapping[str, Any]) -> str:
    """`positive control holds`, or `without teeth: …` with the reason; empty where the drop is unknown."""
    success = found["success"]  # None: no backdoor
    if np.isnan(drop.estimate) or (success is not None and np.isnan(success)):
        return ""
    if success is not None:
        rate = f"{100 * success:.0f} % of the stamped images become the target class"
        return f"{HOLDS if at_least(success, LEAST_SUCCESS) else WITHOUT_TEETH}: {rate}"
    if at_least(drop.estimate, LEAST_DROP) and drop.low > 0:
        return HOLDS
    moved, norm = found["changed"], found["norm_ratio"]
    if not at_least(moved, LEAST_CHANGE):
        reason = f"the update hardly moves the model ({100 * moved:.1f} % of the answers change)"
    elif norm < LEAST_NORM:
        reason = f"a weak update ({norm:.2f} × the clean client's norm)"
    elif drop.high < 0:
        reason = "the client still learns the true classes and is better than zero-shot"
    elif not at_least(drop.estimate, LEAST_DROP):
        reason = f"{100 * moved:.0f} % of the answers change, yet fewer than {100 * LEAST_DROP:.0f} points are lost"
    else:
        reason = "the drop cannot be told from none"
    return f"{WITHOUT_TEETH}: {reason}"


@table("attack_control", "Every attacker alone: the positive control", "5 Attacks")
def control_table(results: Results) -> Table:
    """Each attacker's own model, merged with nobody, on its own domain: zero-shot, the clean client and the attacked
    one. An attack whose attackers stay near zero-shot, or above it, has no teeth, and says nothing about any defence
    against it."""
    columns = [
        Column("attacker", text("client")),
        Column("zero-shot", percent("zero_shot")),
        Column("clean", percent("clean")),
        Column("attacked", percent("attacked")),
        Column("drop", interval("drop")),
        Column("norm", number("norm_ratio", "{:.2f}")),
        Column("changed, %", number("changed", "{:.1f}", 100)),
        Column("n", lambda row: f"{row['seeds']} × {row['images']:,}"),
        Column("verdict", text("verdict", absent="")),
    ]
    return Table(control_frame(results), columns, EMPTY, section="attack", notes=NOTES)


def control(results: Results, attackers: Mapping[Attackers, str]) -> tuple[Effect, dict[str, Any]]:
    """(drop, columns) of these attackers, each alone on its own domain."""
    start = next(iter(results.of_kind("zero_shot")), None)
    without = alone(results)
    twins = {name: without.get(name) for name in attackers}
    seeds = common_seeds(results, [*attackers.values(), start])
    own = owns(results)
    attacked, clean, zero = (
        level(results, points, seeds, EVERYONE, own) for points in (attackers, twins, dict.fromkeys(attackers, start))
    )
    drop = effect_of(minus(zero, attacked))
    patch = target_class(results, next(iter(attackers.values())))
    success = None if patch is None else mean_of(stamped(results, attackers, seeds, patch, EVERYONE, own))
    names = [name for (name,) in attackers]
    single = len(names) == 1
    return drop, {
        "client": names[0] if single else ALL,
        "domain": "+".join(results.client_domains[names[0]]) if single else "",
        "zero_shot": mean_of(zero),
        "clean": mean_of(clean),
        "attacked": mean_of(attacked),
        **effect_columns("drop", drop),
        "norm_ratio": np.mean([_norm_ratio(results, attackers[name], twins[name], seeds) for name in attackers]),
        "changed": mean_of(changed(results, attackers, start, seeds, own) if start else None),
        "success": success,
        "seeds": len(seeds),
        "images": images_of(attacked),
    }


def _norm_ratio(results: Results, point: str, twin: str | None, seeds: Sequence[int]) -> float:
    """Norm of an attacker's update over its clean one's, mean over seeds."""
    rows = results.rows[results.rows["point"].isin([point, twin]) & (results.rows["target"] == EVERYONE)]
    rows = rows[rows["seed"].isin(seeds)]
    norms = rows.groupby(["point", "seed"])["norm"].first()
    if not {point, twin} <= set(norms.index.get_level_values(0)):
        return np.nan
    return float((norms[point] / norms[twin].replace(0, np.nan)).mean(skipna=False))
