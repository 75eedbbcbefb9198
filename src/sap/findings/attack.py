"""Table `attack`: every attack against every way to merge, on domains that nobody holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sap.findings.scenarios import (
    Attackers,
    Level,
    Scenario,
    attacks,
    common_seeds,
    effect_of,
    images_of,
    is_plain,
    level,
    mean_of,
    minus,
    scenarios,
    stamped,
    target_class,
)
from sap.report.effects import difference
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import MISSING, Column, Table, effect_columns, interval, is_missing, number, percent, text
from sap.stats.effect import MISSING_EFFECT, Effect
from sap.stats.ties import at_least

INERT, BITES, HELPS = "inert", "bites", "helps"
EMPTY = "This experiment attacks no merge."
NOTES = (
    "Accuracy in percent on the held-out domain, mean over held-out domains, attackers and the seeds of the attack. "
    "Impact: points lost, clean − attacked, same merge, images and seeds. In brackets: the 95 % interval.",
    "inert: the plain mean under this attack cannot be told from the clean plain mean (its interval holds zero), so no "
    "defence is credited. Recovery: (attacked defence − attacked plain mean) / impact on the plain mean, where that "
    "impact is the margin or more; n.s. where the interval of that difference holds zero. A backdoor is judged by its "
    "success instead of accuracy in both.",
    "Price: clean plain mean − clean defence, in points, over all seeds and anchor draws of the experiment.",
    "Weight: coefficient of the attackers in the least-squares fit of the merge by the uploads. Norm: theirs over that "
    "of the honest clients. Kept: share of entries / of energy that pruning keeps of the attacker and of the honest.",
    "Success (backdoor): stamped images of other classes that are classified as the target class, clean → attacked. "
    "n: attackers × seeds × test images.",
)


def attack_frame(results: Results) -> pd.DataFrame:
    """One row per attack and defence; shares in [0, 1], effects as NAME, NAME_low, NAME_high.

    attack, defence, point (the clean one), plain (is it the plain mean), state (of the attack: inert, bites, helps;
    None without a plain mean), clean, attacked, impact, regained (attacked defence − attacked plain mean) and recovery
    (NaN unless the attack bites), price, attacker_weight, attacker_norm, {attacker,honest}_kept_{entries,energy},
    clean_success, success, attackers, seeds, images.
    """
    facts, prices, records = _facts(results), {}, []
    for attack in attacks(results):
        found = scenarios(results, attack)
        plain = found[0] if found and is_plain(results, found[0]) else None
        harm = _harm(results, plain) if plain else MISSING_EFFECT
        state = state_of(harm)
        for scenario in found:
            # A share of next to nothing says nothing.
            enough = at_least(harm.estimate, results.plan.margin)
            credited = state == BITES and scenario is not plain and enough
            regained = _regained(results, scenario, plain) if credited and plain else MISSING_EFFECT
            if scenario.clean not in prices:
                other = plain.clean if plain and scenario.clean != plain.clean else None
                prices[scenario.clean] = difference(results, other, scenario.clean)
            records.append(
                {
                    **_outcome(results, scenario),
                    "plain": scenario is plain,
                    "state": state,
                    **effect_columns("regained", regained),
                    "recovery": regained.estimate / harm.estimate if credited else np.nan,
                    **effect_columns("price", prices[scenario.clean]),
                    **facts.reindex(list(scenario.points.values())).mean().to_dict(),
                }
            )
    return pd.DataFrame(records)


def state_of(harm: Effect) -> str | None:
    """What an attack does to the plain mean: inert, bites or helps; None where unknown."""
    if np.isnan(harm.low):
        return None
    return BITES if harm.low > 0 else HELPS if harm.high < 0 else INERT


@table("attack", "Attacks against every way to merge", "5 Attacks")
def attack_table(results: Results) -> Table:
    """Accuracy on the held-out domain without and with each attack, for every way to merge, with the points lost
    (*impact*), the share of the plain mean's loss that a defence regains and what it costs on clean rounds. Where the
    plain mean cannot be told from its clean twin the attack is *inert*, and no defence is credited."""
    frame = attack_frame(results)
    columns = [
        Column("merge", text("defence")),
        Column("clean", percent("clean")),
        Column("attacked", percent("attacked")),
        Column("impact", interval("impact")),
        Column("recovery, %", _recovery),
        Column("price", lambda row: "–" if row["plain"] else interval("price")(row)),
        Column("weight", number("attacker_weight", "{:.2f}")),
        Column("norm", number("attacker_norm", "{:.2f}")),
        Column("kept: attacker", _kept("attacker")),
        Column("kept: honest", _kept("honest")),
    ]
    if len(frame) and frame["success"].notna().any():
        columns.append(Column("success, %", _success))
    columns.append(Column("n", lambda row: f"{row['attackers']} × {row['seeds']} × {row['images']:,}"))
    return Table(frame, columns, EMPTY, section="attack", notes=NOTES)


def _outcome(results: Results, scenario: Scenario) -> dict[str, Any]:
    """The columns of a row that the predictions under one attack and without it decide."""
    seeds = _seeds(results, scenario)
    attacked, clean = (level(results, points, seeds) for points in (scenario.points, scenario.twins))
    patch = _patch(results, scenario)
    success, clean_success = (
        None if patch is None else mean_of(stamped(results, points, seeds, patch))
        for points in (scenario.points, scenario.twins)
    )
    return {
        "attack": scenario.attack,
        "defence": scenario.defence,
        "point": scenario.clean,
        "clean": mean_of(clean),
        "attacked": mean_of(attacked),
        **effect_columns("impact", effect_of(minus(clean, attacked))),
        "clean_success": clean_success,
        "success": success,
        "attackers": len(scenario.points),
        "seeds": len(seeds),
        "images": images_of(attacked),
    }


def _harm(results: Results, scenario: Scenario) -> Effect:
    """What the attack does to a merge: points lost, of a backdoor the rise of its success."""
    seeds = _seeds(results, scenario)
    return effect_of(minus(*(_withstood(results, scenario, side, seeds) for side in (scenario.twins, scenario.points))))


def _regained(results: Results, scenario: Scenario, plain: Scenario) -> Effect:
    """How much more than the plain mean a merge withstands the same attack."""
    seeds = common_seeds(results, [*scenario.points.values(), *plain.points.values()])
    return effect_of(minus(*(_withstood(results, side, side.points, seeds) for side in (scenario, plain))))


def _withstood(
    results: Results, scenario: Scenario, points: Mapping[Attackers, str | None], seeds: Sequence[int]
) -> Level | None:
    """What is right, under a backdoor what is not classified as its target class though it is stamped."""
    patch = _patch(results, scenario)
    if patch is None:
        return level(results, points, seeds)
    success = stamped(results, points, seeds, patch)
    return success and {domain: 1 - array for domain, array in success.items()}


def _patch(results: Results, scenario: Scenario) -> int | None:
    return target_class(results, next(iter(scenario.points.values())))


def _seeds(results: Results, scenario: Scenario) -> list[int]:
    return common_seeds(results, [*scenario.points.values(), scenario.clean])


def _facts(results: Results) -> pd.DataFrame:
    """What became of the attackers in each merge, mean over the folds that hold a domain out; indexed by point."""
    rows = results.rows[results.rows["domain"] == results.rows["target"]].set_index("point")
    facts = rows[["attacker_weight", "attacker_norm"]].astype(float)
    for who in ("attacker", "honest"):
        pairs = rows[f"{who}_kept"].map(lambda pair: pair if isinstance(pair, list) else [np.nan, np.nan])
        for part, name in enumerate(("entries", "energy")):
            facts[f"{who}_kept_{name}"] = [pair[part] if isinstance(pair, list) else np.nan for pair in pairs]
    return facts.groupby(level=0).mean()


def _recovery(row: pd.Series) -> str:
    if row["plain"]:
        return {INERT: INERT, HELPS: HELPS}.get(row["state"], "–")
    if row["state"] != BITES:
        return MISSING if is_missing(row["state"]) else str(row["state"])
    if is_missing(row["recovery"]):
        return "–"
    held = row["regained_low"] <= 0 <= row["regained_high"]
    return number("recovery", "{:.0f}", 100)(row) + (" n.s." if held else "")


def _kept(who: str):
    def cell(row: pd.Series) -> str:
        entries, energy = row[f"{who}_kept_entries"], row[f"{who}_kept_energy"]
        return "–" if is_missing(entries) else f"{100 * entries:.0f} / {100 * energy:.0f}"

    return cell


def _success(row: pd.Series) -> str:
    if is_missing(row["success"]):
        return "–"
    return f"{100 * row['clean_success']:.1f} → {100 * row['success']:.1f}"
