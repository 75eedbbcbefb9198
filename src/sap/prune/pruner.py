"""Pruning of clients' updates at a point: score, cut, mask, rescale, one layer of one client at a time.

Only cuts (a few numbers each) and norms are kept between calls: every rescale, merge method and control that reads the
same scores and counts finds its cut again. Scope `row` has a cut for each row and finds them anew.
"""

import math
from collections.abc import Mapping

from torch import Tensor

from sap.factors import Entry, Factors
from sap.io import canonical
from sap.prune.mask import Rule, cut_out, keep_between, without
from sap.prune.rescale import norm, rescale
from sap.prune.scorer import Point, Reader, Scorer
from sap.selection import Cut, kept_in_rows
from sap.setting import MASK, up_to
from sap.update import Update

Gradients = Reader
Cuts = tuple[Cut, Cut | None]


class Pruner:
    """Prunes single layers of single clients.

    `updates`: client -> Update; `gradients`: (point, client) -> {layer: (m, n)}, with `{layer}/A` and `{layer}/B` where
    a point wants mean_of_absolute in factor space; `seed` decides the random masks, together with client and layer;
    `statistics`: (point, client) -> {`{layer}/fisher`: (m, n), `{layer}/gram`: (n, n)} of the client's own model.
    """

    def __init__(
        self,
        updates: Mapping[str, Update],
        gradients: Gradients | None,
        seed: int,
        statistics: Reader | None = None,
    ) -> None:
        self._updates = updates
        self._scorer = Scorer(updates, gradients, statistics, seed)
        self._cuts: dict[str, list[Cuts]] = {}
        self._ratios: dict[str, float] = {}

    def entry(self, point: Point, client: str, layer: str) -> Entry:
        """One client's layer, masked and rescaled: dense in space `delta`, Factors in space `factors`."""
        rule = Rule.of(point)
        before, after = self._updates[client][layer], self._masked(point, rule, client, layer)
        return rescale(point["rescale"], before, after, rule, lambda: self._model_ratio(point, rule, client))

    def _masked(self, point: Point, rule: Rule, client: str, layer: str) -> Entry:
        weights = self._scorer.weights(point, client, layer)
        scores = self._scorer.scores(point, rule.unit, client, layer, weights)
        if rule.scope == "row":
            keep = [kept_in_rows(score, *rule.dropped(score.shape[1])) for score in scores]
        elif rule.scope == "model":
            first = list(self._updates[client]).index(layer) * len(scores)
            [cuts] = self._model_cuts(point, rule, client)
            keep = [keep_between(score, cuts, first + i) for i, score in enumerate(scores)]
        else:
            found = self._layer_cuts(point, rule, client, layer, scores)
            keep = [keep_between(score, cuts) for score, cuts in zip(scores, found, strict=True)]
        masked = without(rule.unit, list(weights.values()), keep)
        return Factors(*masked) if point["space"] == "factors" else masked[0]

    def _layer_cuts(self, point: Point, rule: Rule, client: str, layer: str, scores: list[Tensor]) -> list[Cuts]:
        """Cuts for each score tensor of the layer: A and B have their own."""
        key = _key(point, client, layer)
        if key not in self._cuts:
            self._cuts[key] = [cut_out([score], rule) for score in scores]
        return self._cuts[key]

    def _model_cuts(self, point: Point, rule: Rule, client: str) -> list[Cuts]:
        """The cuts over all score tensors of the client's layers."""
        key = _key(point, client)
        if key not in self._cuts:
            scores = []
            for layer in self._updates[client]:
                weights = self._scorer.weights(point, client, layer)
                scores += self._scorer.scores(point, rule.unit, client, layer, weights)
            self._cuts[key] = [cut_out(scores, rule)]
        return self._cuts[key]

    def _model_ratio(self, point: Point, rule: Rule, client: str) -> float:
        """Frobenius norm over all layers before pruning, divided by the one after."""
        key = _key(point, client)
        if key not in self._ratios:
            after = math.hypot(*(norm(self._masked(point, rule, client, layer)) for layer in self._updates[client]))
            self._ratios[key] = self._updates[client].norm() / after if after else 1.0
        return self._ratios[key]


def _key(point: Point, *names: str) -> str:
    return canonical([up_to(point, MASK), *names])
