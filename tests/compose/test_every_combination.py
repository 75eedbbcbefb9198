"""Anything that composes, composes: every criterion, every rescale and every merge, in each space that both allow."""

from itertools import product

import pytest
import torch

import sap.merge
import sap.prune  # noqa: F401  both imports register
from sap.compose import Composer
from sap.errors import SapError
from sap.merge._api import METHODS
from sap.prune._api import CRITERIA
from sap.prune.rescale import RESCALES
from tests.merge.cohort import COUNTS, SHAPES, QuadraticJudge, cohort_size, extras_of, make_clients


class Judge(QuadraticJudge):
    def root(self, update):
        return {layer: self._random(f"root {layer}", update.shape(layer)) for layer in update}


def composer_of(n_clients):
    """A composer with everything that any criterion or merge method may ask for."""
    updates = make_clients(n_clients)
    clients = list(updates)
    made = extras_of(updates, {"gradient", "gram", "fisher"})
    judge = Judge(updates)

    def statistics(point, client):
        k = clients.index(client)
        return {f"{layer}/{kind}": made[kind](layer)(k) for layer in SHAPES for kind in ("gram", "fisher")}

    return Composer(
        updates,
        {client: COUNTS[client] for client in updates},
        lambda point, client: {layer: made["gradient"](layer)(clients.index(client)) for layer in SHAPES},
        statistics=statistics,
        judge=lambda point: judge,
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_criterion_composes_with_this_merge(method):
    composer = composer_of(cohort_size(method, METHODS[method].options()))
    unpruned = composer.merge({"merge": {"method": method}})
    spaces = ("factors",) if METHODS[method].space == "factors" else ("delta", "factors")
    tried = 0
    for criterion, space in product(CRITERIA, spaces):
        if space == "factors" and CRITERIA[criterion].needs & {"fisher", "gram"}:
            continue  # measured on the dense update; the pruner refuses
        point = {"criterion": criterion, "space": space, "prune_ratio": 0.6, "merge": {"method": method}}
        pruned = composer.merge(point | {"rescale": "frobenius", "scale": 0.5})
        assert all(pruned.shape(layer) == SHAPES[layer] for layer in SHAPES)
        half = unpruned.scaled(0.5)
        assert any((pruned.dense(layer) - half.dense(layer)).abs().max() > 1e-4 for layer in SHAPES)
        tried += 1
    assert tried >= 6


@pytest.mark.parametrize("rescale", RESCALES)
@pytest.mark.parametrize("unit", ["entry", "row", "component", "layer"])
def test_every_rescale_composes_with_every_unit_or_says_why_not(rescale, unit):
    composer = composer_of(4)
    point = {"criterion": "magnitude", "space": "factors", "unit": unit, "rescale": rescale, "prune_ratio": 0.5}
    point |= {"scope": "model" if unit == "layer" else "layer", "merge": {"method": "mean"}}
    if rescale == "robustmerge" and unit != "entry":
        with pytest.raises(SapError, match="robustmerge"):
            composer.merge(point)
        return
    merged = composer.merge(point)
    assert 0 < merged.norm() < float("inf")
    if rescale == "frobenius_model":
        for client, update in composer.updates.items():
            assert composer.prune(point, client).norm() == pytest.approx(update.norm(), rel=1e-5)


def test_a_need_that_a_run_does_not_have_is_named():
    composer = Composer(make_clients())
    for method, need in (("regmean", "gram"), ("fltrust", "root"), ("greedy_soup", "anchors")):
        with pytest.raises(SapError, match=f"merge.{method} needs {need}, which this run does not have"):
            composer.merge({"merge": {"method": method}})


def test_a_final_rank_is_the_best_approximation_of_any_merge():
    composer = composer_of(4)
    whole = composer.merge({"merge": {"method": "ties"}})
    cut = composer.merge({"merge": {"method": "ties"}, "rank": 4})
    for layer in SHAPES:
        values = torch.linalg.svdvals(whole.dense(layer).double())
        error = float((whole.dense(layer) - cut.dense(layer)).norm())
        assert error == pytest.approx(float(values[4:].norm()), rel=1e-4)
        assert cut[layer].A.shape[0] == 4


def test_an_invalid_number_of_clients_is_refused_before_anything_is_computed():
    composer = composer_of(4)
    composer._pruner = None
    with pytest.raises(SapError, match=r"krum: needs n >= 2f\+3 clients: n = 4, f = 1 needs 5"):
        composer.merge({"merge": {"method": "krum", "f": 1}, "criterion": "random", "prune_ratio": 0.5})
