"""Table `attack_explained`: why all-wrong labels (hardly) move a reported average, as a sum of points lost on the way.

Five explanations stand in one chain. It begins with all that the attacker could lose on its own domain, the accuracy of
the clean client there, and ends at the change of the average that a table reports:

    clean client, own domain  →  (adapter not loaded | weak update | text prior)  →  the attacker alone, own domain
    →  the clean merge has less to lose there  →  the attacker's weight in the merge  →  average over the test domains

Each step is the mean of a difference, image by image and seed by seed, between what is lost before it and after it, so
the steps add up to the whole. Another order of the steps would share the points among them otherwise. Where one domain
is left out, nobody tests the attacker's own: that step comes first. A product of means follows on the mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sap.findings.attack_control import LEAST_CHANGE, LEAST_NORM, control
from sap.findings.attack_folds import weight_of
from sap.findings.scenarios import (
    EVERYONE,
    Attackers,
    Level,
    Scenario,
    alone,
    anywhere,
    attacks,
    averages,
    clients_of,
    common_seeds,
    effect_of,
    lacks,
    level,
    mean_of,
    minus,
    owns,
    scenarios,
)
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import MISSING, Column, Table, effect_columns, interval, is_missing, signed, text
from sap.stats.effect import MISSING_EFFECT, Effect
from sap.stats.ties import at_least

NOT_LOADED, WEAK, PRIOR = "adapter not loaded", "weak update", "text prior"
DILUTION, AVERAGING = "dilution by the average used", "averaging over domains"
ALONE, TESTED_ON_ALL, LEFT_OUT = "the attacker alone", "all domains are clients and tested", "one domain is left out"
METHODS = ("mean", "product_of_means")
WORDS = {True: "holds", False: "does not hold"}
OWN_DROP, REPORTED = "its own drop, to the clean client", "change of the reported average"
MEANING = {  # explanation -> what it means where it holds, and where it does not
    NOT_LOADED: (
        "The poisoned client answers as zero-shot does, so no merge could show an attack.",
        "The poisoned client answers unlike zero-shot: its adapter is at work.",
    ),
    WEAK: (
        "Wrong labels leave an update too small to matter beside the honest ones.",
        "The update that wrong labels leave is not small beside that of the true ones.",
    ),
    PRIOR: (
        "The frozen text features keep some answers right that the labels teach wrongly.",
        "No right answer survives beyond chance: the frozen text features do not resist the labels.",
    ),
    DILUTION: (
        "The average takes away most of a single client's update, its lead on its own domain as well as its harm.",
        "The merge suffers as much as the attacker itself.",
    ),
    AVERAGING: (
        "The reported average is over domains that the attacker hurts less than its own.",
        "The attacker hurts all domains alike.",
    ),
}
EMPTY = (
    "This experiment cannot explain an attack: it needs a plain mean with and without the attack in the view "
    "`attack`, with `judged_on: everyone`."
)
RULES = (
    "Points: mean over attackers and seeds with 95 % interval; in each section the first line minus the points of the "
    "steps is the last line. Left: points lost after the step.",
    "What the poisoned model still gets right is counted once: as `adapter not loaded` where fewer than "
    f"{100 * LEAST_CHANGE:.0f} % of its answers differ from zero-shot's, else as `weak update` where its norm is below "
    f"{LEAST_NORM} × the clean client's, else as `text prior`, which holds where the interval of that accuracy lies "
    "above chance. The other explanations hold where the interval of their points lies above 0.",
)


class _Alone(NamedTuple):
    """Every attacker alone on its own domain: what is right without and with the attack, what is lost, which seeds."""

    clean: Level | None
    attacked: Level | None
    lost: Level | None
    attackers: Mapping[Attackers, str]
    seeds: Sequence[int]


def explained_frame(results: Results) -> pd.DataFrame:
    """One row per line of each chain: attack, section, explanation (None for its ends), step, measured, points and left
    (with intervals, shares), holds (None for its ends and where predictions are missing)."""
    records = []
    for attack in attacks(results):
        there = scenarios(results, attack, "everyone")
        found = [scenario for method in METHODS for scenario in there if averages(results, scenario, method)]
        attackers, clients = alone(results, attack), alone(results)
        if not found or not attackers or not set(attackers) <= set(clients):
            continue
        twins = {name: clients[name] for name in attackers}
        merges = [point for scenario in found for point in (*scenario.points.values(), scenario.clean)]
        seeds = common_seeds(results, [*attackers.values(), *merges])
        clean, attacked = (level(results, side, seeds, EVERYONE, owns(results)) for side in (twins, attackers))
        by_itself = _Alone(clean, attacked, minus(clean, attacked), attackers, seeds)
        lines = _learned(results, by_itself)
        for end in range(1, len(found) + 1):
            lines += [*_tested_on_all(results, found[:end], by_itself), *_left_out(results, found[:end], by_itself)]
        records += [{"attack": attack} | line for line in lines]
    return pd.DataFrame(records)


@table("attack_explained", "Why the attack moves the reported average as little as it does", "5 Attacks")
def explained_table(results: Results) -> Table:
    """Five explanations of an attack that hardly shows, in one chain from what the attacker could lose on its own
    domain to the change of the average that is reported. The points of the steps add up to the difference of a
    section's first and last line."""
    frame = explained_frame(results)
    if len(frame) and frame["attack"].nunique() > 1:
        frame = frame.assign(section=frame["attack"] + ": " + frame["section"])
    columns = [
        Column("explanation", text("explanation", absent="")),
        Column("step", text("step")),
        Column("measured", text("measured", absent="")),
        Column("points", lambda row: "" if is_missing(row["points"]) else interval("points")(row)),
        Column("left", interval("left", sign="")),
        Column("holds", lambda row: "" if is_missing(row["explanation"]) else WORDS.get(row["holds"], MISSING)),
    ]
    return Table(frame, columns, EMPTY, section="section", notes=(*RULES, *_sentences(frame)))


def _learned(results: Results, by_itself: _Alone) -> list[dict[str, Any]]:
    """From all that the attacker could lose on its own domain to what it does lose."""
    found = control(results, by_itself.attackers)[1]
    right, chance = effect_of(by_itself.attacked), 1 / len(results.plan.classes)
    holds = {
        NOT_LOADED: _below(found["changed"], LEAST_CHANGE),
        WEAK: _below(found["norm_ratio"], LEAST_NORM),
        PRIOR: _below(chance, right.low),
    }
    measured = {
        NOT_LOADED: f"{100 * found['changed']:.1f} % of its answers differ from zero-shot's",
        WEAK: f"norm {found['norm_ratio']:.2f} × the clean client's",
        PRIOR: f"{100 * right.estimate:.1f} % right, chance {100 * chance:.1f} %",
    }
    charged = next((name for name in (NOT_LOADED, WEAK) if holds[name]), PRIOR)
    left, steps = by_itself.clean, []
    for name in holds:
        left = by_itself.lost if name == charged else left
        steps.append((name, "still right on its own domain", measured[name], left))
    return _chain(ALONE, ("all that it could lose on its own domain", by_itself.clean), steps, OWN_DROP, holds)


def _tested_on_all(results: Results, path: Sequence[Scenario], by_itself: _Alone) -> list[dict[str, Any]]:
    """From the attacker's own drop to the average over all domains, where all of them have clients, under the last
    merge of `path`; what the one before it does on the attacker's domain is a step on the way."""
    own = owns(results)
    sides = [[level(results, s, by_itself.seeds, EVERYONE, own) for s in (m.twins, m.points)] for m in path]
    others, reported = (
        minus(*(level(results, side, by_itself.seeds, EVERYONE, part) for side in (path[-1].twins, path[-1].points)))
        for part in (lacks(results), anywhere)
    )
    clean = sides[0][0]
    less = f"clean merge {100 * mean_of(clean):.1f} % there, clean client {100 * mean_of(by_itself.clean):.1f} %"
    steps = [(DILUTION, "the clean merge has less to lose", less, minus(clean, by_itself.attacked))]
    steps += _weights(results, path, EVERYONE, [minus(*side) for side in sides])
    averaged = f"the other domains lose {signed(mean_of(others))}"
    steps.append((AVERAGING, "all domains are averaged", averaged, reported))
    return _chain(f"{TESTED_ON_ALL}, {path[-1].defence}", (OWN_DROP, by_itself.lost), steps, REPORTED)


def _left_out(results: Results, path: Sequence[Scenario], by_itself: _Alone) -> list[dict[str, Any]]:
    """From the attacker's own drop to the average over held-out domains, none of which is its own; see above."""
    sides = [[level(results, side, by_itself.seeds) for side in (merge.twins, merge.points)] for merge in path]
    elsewhere = level(results, by_itself.attackers, by_itself.seeds, EVERYONE, lacks(results))
    elsewhere = elsewhere and {domain: right for domain, right in elsewhere.items() if domain in results.targets}
    clean = sides[0][0]
    other = f"alone it has {100 * mean_of(elsewhere):.1f} % there, the clean merge {100 * mean_of(clean):.1f} %"
    steps = [(AVERAGING, "other domains are tested", other, minus(clean, elsewhere))]
    steps += _weights(results, path, None, [minus(*side) for side in sides])
    return _chain(f"{LEFT_OUT}, {path[-1].defence}", (OWN_DROP, by_itself.lost), steps, REPORTED)


def _weights(
    results: Results, path: Sequence[Scenario], fold: str | None, losses: Sequence[Level | None]
) -> list[tuple[str, str, str, Level | None]]:
    """One step per merge: from full weight to the attacker's weight in the first, and on to that in the next."""
    count = len(clients_of(results, fold or results.targets[0]))
    measured = [f"weight {weight_of(results, merge, fold):.3f}, {count} clients" for merge in path]
    named = [f"its weight in the merge: {merge.defence}" for merge in path]
    return [(DILUTION, *step) for step in zip(named, measured, losses, strict=True)]


def _chain(
    section: str,
    start: tuple[str, Level | None],
    steps: Sequence[tuple[str, str, str, Level | None]],
    end: str,
    holds: Mapping[str, bool | None] | None = None,
) -> list[dict[str, Any]]:
    """The lines of one section from (explanation, step, measured, what is left to lose after it)."""

    def line(explanation: str | None, step: str, measured: str, points: Effect, left: Level | None) -> dict[str, Any]:
        held = None if explanation is None else holds[explanation] if holds else _below(0.0, points.low)
        return {
            "section": section,
            "explanation": explanation,
            "step": step,
            "measured": measured,
            **effect_columns("points", points),
            **effect_columns("left", effect_of(left)),
            "holds": held,
        }

    name, before = start
    lines = [line(None, name, "", MISSING_EFFECT, before)]
    for explanation, step, measured, left in steps:
        lines.append(line(explanation, step, measured, effect_of(minus(before, left)), left))
        before = left
    return [*lines, line(None, end, "", MISSING_EFFECT, before)]


def _below(value: float, bound: float) -> bool | None:
    return None if np.isnan(value) or np.isnan(bound) else not at_least(value, bound)


def _sentences(frame: pd.DataFrame) -> list[str]:
    """One sentence per explanation: whether it holds, what that means, and its points in every chain."""
    sentences = []
    for explanation, (holding, failing) in MEANING.items() if len(frame) else ():
        lines = frame[frame["explanation"] == explanation]
        held = list(lines["holds"])
        if any(is_missing(value) for value in held):
            continue
        points = lines.groupby("section", sort=False)["points"].sum(skipna=False)
        counted = "; ".join(f"{section}: {signed(value)}" for section, value in points.items())
        word = WORDS[held[0]] if len(set(held)) == 1 else "holds in part"
        meaning = holding if any(held) else failing
        sentences.append(f"{explanation[0].upper()}{explanation[1:]}: {word}. {meaning} Points: {counted}.")
    return sentences
