"""What happens to the entries that stay, layer by layer; ΔW before and Δ̃W after pruning.

    none               Δ̃W
    inverse_density    Δ̃W / (1−ρ): the expectation of a random mask, as dropout and DARE do
    frobenius          Δ̃W · ‖ΔW‖_F / ‖Δ̃W‖_F
    frobenius_model    the same with both norms over all layers: one factor for the client
    l1                 Δ̃W · Σ|ΔW| / Σ|Δ̃W| (mergekit's rescale_norm l1)
    robustmerge        B̃ diag(S) Ã,  S_i = Σ_j |A_ij| / Σ_j |Ã_ij|, i = 1..r

In factor space `inverse_density` divides both masked factors, because the expectation of B̃·Ã under independent masks of
entries is (1−ρ)² · B·A; a row, component or layer is masked once. `robustmerge` is the complementary scaling of
RobustMerge (Zeng et al., NeurIPS 2025, paper form): S comes from A alone and acts on B's columns, a component whose row
of A is gone keeps S = 1. The paper's normalisation of S across clients belongs to the merge, not to a client.
"""

import math
from collections.abc import Callable

import torch

from sap.factors import Entry, Factors, dense, inner, scaled
from sap.prune.mask import Rule
from sap.registry import Registry

Rescale = Callable[[Entry, Entry, Rule, Callable[[], float]], Entry]
RESCALES: Registry[Rescale] = Registry("rescale")


def rescale(name: str, before: Entry, after: Entry, rule: Rule, model_ratio: Callable[[], float]) -> Entry:
    """`after` with its energy restored; `before` is the same layer unpruned.

    `model_ratio` gives ‖ΔW‖_F / ‖Δ̃W‖_F over all layers of the client; it is asked only where it is needed.
    """
    return RESCALES[name](before, after, rule, model_ratio)


def norm(entry: Entry) -> float:
    """Frobenius norm of one layer."""
    return math.sqrt(max(inner(entry, entry), 0.0))


def _none(before: Entry, after: Entry, rule: Rule, model_ratio: Callable[[], float]) -> Entry:
    return after


def _inverse_density(before: Entry, after: Entry, rule: Rule, model_ratio: Callable[[], float]) -> Entry:
    if rule.prune_ratio == 1:  # nothing is left that could be scaled
        return after
    scale = 1 / (1 - rule.prune_ratio)
    if isinstance(after, Factors) and rule.unit == "entry":
        return Factors(after.A * scale, after.B * scale)
    return scaled(after, scale)


def _frobenius(before: Entry, after: Entry, rule: Rule, model_ratio: Callable[[], float]) -> Entry:
    left = norm(after)
    return scaled(after, norm(before) / left) if left else after


def _frobenius_model(before: Entry, after: Entry, rule: Rule, model_ratio: Callable[[], float]) -> Entry:
    return scaled(after, model_ratio())


def _l1(before: Entry, after: Entry, rule: Rule, model_ratio: Callable[[], float]) -> Entry:
    total, left = (float(dense(entry).abs().sum(dtype=torch.float64)) for entry in (before, after))
    return scaled(after, total / left) if left else after


def _robustmerge(before: Entry, after: Entry, rule: Rule, model_ratio: Callable[[], float]) -> Entry:
    assert isinstance(before, Factors)  # sap.combinations refuses space delta
    assert isinstance(after, Factors)
    total, left = before.A.abs().sum(1), after.A.abs().sum(1)
    return Factors(after.A, after.B * torch.where(left > 0, total / left, 1.0))


RESCALES.add("none", _none)
RESCALES.add("inverse_density", _inverse_density)
RESCALES.add("frobenius", _frobenius)
RESCALES.add("frobenius_model", _frobenius_model)
RESCALES.add("l1", _l1)
RESCALES.add("robustmerge", _robustmerge)
