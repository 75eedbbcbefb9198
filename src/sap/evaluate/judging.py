"""The rows of a shard, point by point: make what it gives to be judged, predict, say what came of it."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import sap.serve  # noqa: F401  registers its kinds
from sap.evaluate.rows import HELD_OUT, VALIDATION, Judged, Name, judged_on, name_of
from sap.evaluate.runner import DomainImages, Judge
from sap.failures import sentence_of, writable
from sap.plans import FoldPlan, PointPlan
from sap.serve._api import KINDS, Fold

Predicted = tuple[dict[str, Any], np.ndarray, np.ndarray]


def judge_points(
    plan: FoldPlan,
    wanted: Mapping[Name, str],
    judge: Judge,
    tests: Mapping[Judged, DomainImages],
    fold: Fold,
    failed: list[dict[str, Any]],
) -> Iterator[Predicted]:
    """Yield (row, probabilities (n, C), labels (n,)) for every wanted name with its key.

    A point that cannot be merged or judged costs no other its rows: its own join `failed`, each with the error.

    A row of validation images also has the served update's `anchor_loss`; the rows of a point under attack say what
    becomes of the attack.
    """
    for point in plan.points:
        left = [each for each in judged_on(point, plan.target, plan.domains) if (point.id, *each) in wanted]
        if not left:
            continue
        try:
            for row, probabilities, labels in _judged(plan, point, list(left), judge, tests, fold):
                found = writable({"key": wanted[name_of(row)], **row})
                left.remove(Judged(row["domain"], row["images"]))
                yield found, probabilities, labels
        except Exception as error:
            names = {"point": point.id, "target": plan.target, "seed": plan.seed}
            failure = {"stage": "evaluate", **names, "error": sentence_of(error)}
            failed += [failure | judged._asdict() for judged in left]


def _judged(
    plan: FoldPlan,
    point: PointPlan,
    asked: list[Judged],
    judge: Judge,
    tests: Mapping[Judged, DomainImages],
    fold: Fold,
) -> Iterator[Predicted]:
    """The rows of one point on some images, without their keys; arguments as for `judge_points`."""
    make = KINDS[point.settings["kind"]].make
    start = time.perf_counter()
    of_all = make(point.settings, fold)
    made = time.perf_counter() - start
    for judged in asked:
        start = time.perf_counter()
        held_out = judged.images == HELD_OUT
        served = make(point.settings, fold.without(judged.domain)) if held_out else of_all
        probabilities = served.predict(judge, tests[judged])
        row = {
            "point": point.id,
            "kind": point.settings["kind"],
            "target": plan.target,
            "seed": plan.seed,
            **judged._asdict(),
            "precision": judge.precision,
            "norm": None if served.update is None else served.update.norm(),
            "passes": served.passes,
            "parameters": served.parameters,
            "seconds": round(time.perf_counter() - start + made / len(asked), 4),
            "settings": point.settings,
            **served.facts,
        }
        if judged.images == VALIDATION and served.update is not None:
            row["anchor_loss"] = fold.anchor_loss(served.update)
        yield row, probabilities, tests[judged].labels
