"""The rule of each verdict, fixed before any number is seen.

A claim has parts, each one effect that the claim says something about, and holds if all of them or any of them do. A
margin is the smallest effect of interest. Evidence for a claim is one p; the caller corrects it over all claims (Holm).

supported: the corrected p is under α. All: the largest p of the parts, an intersection-union test that needs no
correction (Berger 1982). Any: the smallest, times the number of parts.
refuted: not supported, and the interval of one part (all) or of every part (any) excludes what the part claims: for a
claimed difference every effect of interest, for a claimed absence every effect within the margin. An interval between
zero and the margin refutes no difference, and one that leaves zero but reaches into the margin refutes no absence: the
truth may be as claimed.
underpowered: neither. not testable: no parts, or an effect that could not be measured.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sap.stats.effect import Effect, p_within

SUPPORTED, REFUTED, UNDERPOWERED, NOT_TESTABLE = VERDICTS = ("supported", "refuted", "underpowered", "not testable")


class Part(NamedTuple):
    """One effect and what is claimed of it."""

    name: str
    effect: Effect
    kind: str  # "greater" claims effect > 0, "less" effect < 0, "within" |effect| < margin
    margin: float  # smallest effect of interest, ≥ 0, in the unit of the effect


def p_of(part: Part) -> float:
    """p of what the part claims, one-sided; for "within" that of two one-sided tests. NaN for a missing effect."""
    match part.kind:
        case "greater":
            return part.effect.p_greater
        case "less":
            return part.effect.p_less
        case "within":
            return p_within(part.effect, part.margin)
    raise ValueError(f"a part's kind is greater, less or within, got {part.kind!r}")


def refuted(part: Part) -> bool:
    """Whether the effect's interval excludes what the part claims; False for a missing effect."""
    _, low, high, *_ = part.effect
    match part.kind:
        case "greater":
            return bool(high < part.margin and not low > 0)
        case "less":
            return bool(low > -part.margin and not high < 0)
        case "within":
            return bool(low >= part.margin or high <= -part.margin)
    raise ValueError(f"a part's kind is greater, less or within, got {part.kind!r}")


def p_of_claim(parts: Sequence[Part], need: str) -> float:
    """p of a claim that needs "all" or "any" of its parts, before correction over claims; NaN where not testable."""
    found = [p_of(part) for part in parts]
    if not found or np.isnan(found).any():
        return np.nan
    return float(max(found)) if _needs_all(need) else float(min(1.0, len(found) * min(found)))


def verdict(parts: Sequence[Part], need: str, p_adjusted: float, alpha: float = 0.05) -> str:
    """One of VERDICTS for a claim with its `p_of_claim` after correction over the claims."""
    if np.isnan(p_of_claim(parts, need)) or np.isnan(p_adjusted):
        return NOT_TESTABLE
    if p_adjusted < alpha:
        return SUPPORTED
    against = [refuted(part) for part in parts]
    return REFUTED if (any(against) if _needs_all(need) else all(against)) else UNDERPOWERED


def _needs_all(need: str) -> bool:
    if need not in ("all", "any"):
        raise ValueError(f'a claim needs "all" or "any" of its parts, got {need!r}')
    return need == "all"
