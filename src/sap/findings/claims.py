"""The claims ledger: what the data say about each claim of the method, how sure that is, what could not have been seen.

A claim is a list of parts (sap.stats.verdict), each one effect and what is claimed of it; which effects, is written
down here, so before any number is seen. `SAP` is the first point of the main table that prunes by absolute Taylor
scores and merges by the plain mean; its variants are found by their settings. Evidence is corrected over the claims
(Holm).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sap.findings import claim_beds
from sap.findings import claim_effects as effects
from sap.findings.claim_effects import NEGLIGIBLE_ROOM
from sap.findings.claim_points import NotTestable
from sap.report.exhibit import table
from sap.report.frame import Results
from sap.report.table import (
    Column,
    Table,
    effect_columns,
    interval,
    is_missing,
    p_value,
    percent,
    points_of,
    sample,
    text,
)
from sap.stats.bed import NO_TRANSFER, TRANSFER
from sap.stats.effect import MISSING_EFFECT
from sap.stats.paired import holm
from sap.stats.verdict import NOT_TESTABLE, Part, p_of_claim, verdict

EMPTY = "This experiment holds no claims."


@dataclass(frozen=True)
class Claim:
    """`parts(results)` are its effects; `need`: all of them, or any; `room`: it is about gains, which need room.

    `shown`: the figure that shows it; `rows`: the table that holds its rows; `bed`: the answer depends on whether the
    sources transfer (sap.stats.bed), so the verdict says on which kind of bed it was asked.
    """

    id: str
    says: str
    test: str
    need: str
    parts: Callable[[Results], list[Part]]
    shown: str
    rows: str
    room: bool = False
    bed: bool = False
    unit: str = "points"


CLAIMS = (
    Claim(
        "C1", "across clients, visual updates conflict more than text updates do",
        "share of entries with opposite signs, visual minus text, over pairs of clients", "all",
        effects.towers, "towers", "towers", unit="points of entries",
    ),
    Claim(
        "C2", "plain merging loses accuracy against the best client or against zero-shot",
        "mean minus zero-shot, mean minus the client that is best on the target at the other seeds", "any",
        effects.plain_merging, "main", "comparisons", bed=True,
    ),
    Claim(
        "C3", "pruning by saliency makes the domain harder to read while the class stays as readable",
        "linear probes under SAP at the highest ρ: domain against the unpruned merge and a random mask at equal layer "
        "norms, class against the unpruned merge", "all",
        effects.style, "probe", "probe",
    ),
    Claim(
        "C4", "SAP beats the unpruned merge on the unseen domain", "SAP minus the unpruned mean", "all",
        effects.beats_unpruned, "main", "comparisons", room=True, bed=True,
    ),
    Claim(
        "C5", "gradient saliency beats magnitude pruning and RobustMerge at the same ρ",
        "SAP minus magnitude, SAP minus RobustMerge, at equal ρ", "all",
        effects.beats_blind, "ablation", "comparisons", room=True, bed=True,
    ),
    Claim(
        "C6", "16-32 anchors are enough",
        "masks of different draws agree more than halfway between chance and identity; accuracy at 16 and at 32 "
        "anchors differs by less than the margin", "all",
        effects.few_anchors, "masks", "masks",
    ),
    Claim(
        "C7", "a client trained on all-wrong labels does not change the merged model's accuracy",
        "mean with one deranged client minus the clean mean, each domain as attacker in turn", "all",
        effects.harmless_attack, "attack_curve", "attack",
    ),
    Claim(
        "C8", "there is no room above zero-shot",
        f"pooled and oracle LoRA minus zero-shot, less {100 * NEGLIGIBLE_ROOM:g} points", "all",
        effects.no_room, "headroom", "headroom", bed=True,
    ),
    Claim(
        "C9", "rescaling after pruning matters", "SAP with rescaling minus SAP without, either sign", "any",
        effects.rescaling, "main", "comparisons", room=True,
    ),
    Claim(
        "C10", "pruning by saliency does more than shrinking the update",
        "SAP minus the mean at SAP's layer norms, minus the mean at the λ that the clients' validation selects, and "
        "minus a random mask, both at the mean's layer norms", "all",
        effects.beyond_shrinkage, "shrinkage", "comparisons", room=True, bed=True,
    ),
    Claim(
        "C11", "which merge leads depends on whether the sources transfer",
        "on a bed of each kind, the other bed's leader minus its own leader (at the other seeds); rank correlation of "
        "the rows fixed in advance, less ½", "all",
        claim_beds.order_turns, "regret", "regret",
    ),
    Claim(
        "C12", "selection by held-out client stays within the margin of the best fixed row on every bed",
        "the best row in hindsight minus what held-out clients choose from the whole table, less the margin", "all",
        claim_beds.no_regret, "regret", "regret",
    ),
)  # fmt: skip


def claims_frame(results: Results) -> pd.DataFrame:
    """One row per part of each claim, in the claims' order; effects are shares. A claim without data has one row.

    Columns: claim, says, test, part, kind, margin, effect with _low and _high, detectable, draws, seeds, images, p,
    claim_p, claim_p_holm, verdict, bed, why, figure, rows, unit.
    """
    parts, reasons = {}, {}
    room, bed = effects.room_above_zero_shot(results), effects.bed(results)
    for claim in CLAIMS:
        try:
            parts[claim.id] = claim.parts(results)
        except NotTestable as error:
            parts[claim.id], reasons[claim.id] = [], str(error)
        if claim.room and parts[claim.id] and room is not None and room.high < NEGLIGIBLE_ROOM:
            parts[claim.id] = []
            reasons[claim.id] = f"no room: the ceilings lie at most {100 * room.high:.1f} points above zero-shot"
    evidence = {claim.id: p_of_claim(parts[claim.id], claim.need) for claim in CLAIMS}
    corrected = holm(evidence)
    records = []
    for claim in CLAIMS:
        found = verdict(parts[claim.id], claim.need, corrected[claim.id])
        about = {
            "claim": claim.id,
            "says": claim.says,
            "test": claim.test,
            "claim_p": evidence[claim.id],
            "claim_p_holm": corrected[claim.id],
            "verdict": found,
            "bed": bed if claim.bed else "",
            "why": reasons.get(claim.id, "") or _why(found, parts[claim.id]),
            "figure": f"figures/{results.plan.experiment}/{claim.shown}.png",
            "rows": f"tables/{results.plan.experiment}/{claim.rows}.csv",
            "unit": claim.unit,
        }
        records += [about | _numbers(part) for part in parts[claim.id]] or [about | _numbers(None)]
    return pd.DataFrame(records)


@table("claims", "Claims: what the data say about each", "1 Claims", reads=("evaluate", "probe", "privacy"))
def claims_table(results: Results) -> Table:
    """What the data say about each claim of the method: its effects with 95 % intervals, the smallest effect that the
    data could have shown, and a verdict. Read the verdict first, then whether the smallest detectable effect is below
    what you would care about: a claim that is `underpowered` is neither right nor wrong here."""
    frame = claims_frame(results)
    frame["heading"] = [f"{row.claim}: {row.says} — {row.verdict}{_on(row.bed)}" for row in frame.itertuples()]
    columns = [
        Column("part", text("part", absent="–")),
        Column("claimed", _claimed),
        Column("effect", interval("effect")),
        Column("smallest detectable", percent("detectable")),
        Column("n", sample),
        Column("p", lambda row: p_value(row["p"], "–")),
        Column("p of the claim (Holm)", lambda row: p_value(row["claim_p_holm"], "–")),
        Column("why", text("why")),
    ]
    notes = (
        "Effects in percentage points with 95 % intervals over anchor draws, training seeds and test images; n: draws "
        "× seeds × images (or clients). Smallest detectable: what a two-sided 5 % test would find with 80 % power.",
        "Verdicts: supported where Holm's p over the claims is under 0.05; refuted where the interval excludes every "
        f"effect of interest ({points_of(results.plan.margin)} or more); underpowered else; not "
        "testable where the experiment lacks the data, a control failed, or there is no room above zero-shot.",
    )
    return Table(frame, columns, EMPTY, section="heading", notes=notes)


def _on(bed: str) -> str:
    """` (where sources transfer)`; empty where the answer does not depend on it, or nobody knows."""
    return f" (where {bed})" if bed in (TRANSFER, NO_TRANSFER) else ""


def _claimed(row: Mapping[str, Any]) -> str:
    if is_missing(row["kind"]):
        return "–"
    within = f"within ±{100 * row['margin']:g}"
    return {"greater": "> 0", "less": "< 0", "within": within}[row["kind"]]


def _numbers(part: Part | None) -> dict[str, Any]:
    if part is None:
        empty = effect_columns("effect", MISSING_EFFECT) | dict.fromkeys(("detectable", "p", "margin"), np.nan)
        return {"part": None, "kind": None, **empty, "draws": 0, "seeds": 0, "images": 0}
    effect = part.effect
    return {
        "part": part.name,
        "kind": part.kind,
        **effect_columns("effect", effect),
        "detectable": effect.detectable,
        "p": p_of_claim([part], "all"),
        "margin": part.margin,
        "draws": effect.draws,
        "seeds": effect.seeds,
        "images": effect.images,
    }


def _why(found: str, parts: list[Part]) -> str:
    """Which part decides; which one lacks data."""
    missing = [part.name for part in parts if np.isnan(part.effect.estimate)]
    if found == NOT_TESTABLE:
        return f"no data for: {', '.join(missing)}" if missing else "this experiment lacks the data"
    return ""
