"""Effects of the claims that need several beds: does the order of the methods turn over, and can a rule follow it?"""

from collections.abc import Sequence

import numpy as np

from sap.findings.beds import FIXED, BedRow, bed_rows, best_fixed, correlations
from sap.findings.claim_effects import HALFWAY, bed, margin, moved
from sap.findings.claim_points import NotTestable
from sap.findings.selection import EVERYTHING, HELD_OUT_CLIENT, families, selected_correct
from sap.report.frame import Results
from sap.stats.bed import NO_TRANSFER, TRANSFER
from sap.stats.effect import DIFFERENCES, Effect, crossed_effect
from sap.stats.ties import snapped
from sap.stats.verdict import Part

Z, Z_POWER = 1.96, 0.84  # of a two-sided 5 % test, and of its power of 80 %


def order_turns(results: Results) -> list[Part]:
    """C11, on the first bed of each kind."""
    kinds = {bed(one): one for one in reversed(_beds(results))}
    if not {TRANSFER, NO_TRANSFER} <= kinds.keys():
        raise NotTestable(f"of its beds none says '{TRANSFER}', or none says '{NO_TRANSFER}'")
    pair = [kinds[TRANSFER], kinds[NO_TRANSFER]]
    names = [one.plan.experiment for one in pair]
    parts = [
        Part(
            f"leader of {names[1 - place]} − leader of {names[place]}, on {names[place]}",
            _against_leader(_fixed(pair[place]), _fixed(pair[1 - place])),
            "less",
            margin(results),
        )
        for place in (0, 1)
    ]
    found = next(correlations(pair), None)
    if found is None:
        raise NotTestable("the beds have fewer than three fixed rows in common")
    _, _, estimate, (low, high) = found
    se = (high - low) / (2 * Z)  # of a percentile interval, taken as that of a normal distribution
    rows = best_fixed(pair[0])
    images = sum(domain.shape[1] for domain in rows.correct) if rows else 0
    effect = Effect(estimate, low, high, se, np.inf, np.nan, np.nan, (Z + Z_POWER) * se, 1, len(pair[0].seeds), images)
    effect = moved(effect, 1, -HALFWAY)
    return [*parts, Part("rank correlation of the fixed rows − ½", effect, "less", margin(results))]


def no_regret(results: Results) -> list[Part]:
    """C12."""
    parts = []
    for one in _beds(results):
        family = families(one).get(EVERYTHING)
        cells = selected_correct(one, family, HELD_OUT_CLIENT) if family else None
        best = best_fixed(one)
        if cells is None or best is None:
            raise NotTestable(f"{one.plan.experiment} has no candidates that held-out clients have judged")
        lost = crossed_effect([ours[None] - cell for ours, cell in zip(best.correct, cells, strict=True)], DIFFERENCES)
        name = f"{one.plan.experiment}: best fixed row − chosen, less {100 * margin(results):g} point"
        parts.append(Part(name, moved(lost, 1, -margin(results)), "less", margin(results)))
    return parts


def _beds(results: Results) -> Sequence[Results]:
    if len(results.beds) < 2:
        raise NotTestable("the experiment stands on one bed alone (key beds of the config names none that has run)")
    return results.beds


def _fixed(results: Results) -> dict[str, BedRow]:
    return {label: row for label, row in bed_rows(results).items() if row.section == FIXED and row.correct}


def _against_leader(own: dict[str, BedRow], other: dict[str, BedRow]) -> Effect:
    """The other bed's leader minus this bed's own, on this bed; its own leads at the other seeds: no image picks it."""
    common = [label for label in own if label in other]
    if not common:
        raise NotTestable("the beds have no fixed row in common")
    cells = [np.stack([own[label].correct[d] for label in common]) for d in range(len(own[common[0]].correct))]
    by_seed = np.mean([cell.mean(axis=2) for cell in cells], axis=0)  # (M, S)
    seeds = by_seed.shape[1]
    others = (by_seed.sum(axis=1, keepdims=True) - by_seed) / (seeds - 1) if seeds > 1 else by_seed
    leaders = snapped(others).argmax(axis=0)
    foreign = int(snapped([other[label].accuracy for label in common]).argmax())
    values = [
        np.stack([cell[foreign, seed] - cell[leaders[seed], seed] for seed in range(seeds)])[None] for cell in cells
    ]
    return crossed_effect(values, DIFFERENCES)
