"""How much room a domain has above zero-shot: what the frozen features hold, and what training reaches."""

from typing import Any

import numpy as np

from sap.data.store import open_store
from sap.evaluate.load import domain_images, load_judge
from sap.evaluate.rows import VALIDATION, Judged
from sap.evaluate.runner import DomainImages, Judge
from sap.io import seed_of
from sap.probe.inputs import some_images
from sap.probe.linear import linear_probe
from sap.scales import SCALES
from sap.stages.headroom.plan import HeadroomPlan
from sap.stats.ties import largest
from sap.update import Update

CEILINGS = ("pooled", "oracle")


def headroom(plan: HeadroomPlan, device: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, facts) of the n test images of one domain.

    "labels" (n,) int16; "alignment" (n,) float32 = cos(v, t_true) of the frozen backbone; correctness as uint8:
    "zero_shot" (n,), "probe" (n,) of a linear probe on the frozen features of at most `plan.images` of the domain's
    training images, "pooled" and "oracle" (1, n): of one seed; "reachable" (1, n): the pooled update at the λ of SCALES
    that is best, by mean accuracy, on the sources' validation images, "scale" (1,) float32. Without such images λ = 1.
    """
    judge, trained = load_judge(plan, ceilings_of(plan), device)
    domain, test = plan.domain, domain_images(Judged(plan.domain), plan.data)
    train = some_images(open_store(plan.data), "train", plan.images, seed_of("headroom", domain))
    found = {"zero_shot": _correct(judge, test, None)}
    found |= {kind: _correct(judge, test, trained[kind])[None] for kind in CEILINGS}
    found |= _reachable(plan, judge, trained["pooled"], test, found["pooled"])
    features, seen = judge.image_features(test, None), judge.image_features(train, None)
    found["probe"] = linear_probe(seen, train.labels, features, test.labels, f"domain {domain}")
    texts = judge.features.cpu().numpy()
    found["alignment"] = np.einsum("ne,ne->n", features, texts[test.labels]).astype(np.float32)
    found["labels"] = test.labels.astype(np.int16)
    facts = {kind: float(found[kind].mean()) for kind in ("zero_shot", "probe")}
    facts |= {kind: found[kind].mean(axis=1).tolist() for kind in CEILINGS}
    return found, {"accuracies": facts, "seed": plan.seed, "n": len(test.labels), "n_train": len(train.labels)}


def _reachable(
    plan: HeadroomPlan, judge: Judge, pooled: Update, test: DomainImages, plain: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays "reachable" and "scale" of `headroom`; `plain` is its "pooled"."""
    seen = [
        domain_images(Judged(domain, VALIDATION), folder)
        for domain, folder in plan.sources.items()
        if len(open_store(folder).rows("val"))
    ]
    if not seen:
        return {"reachable": plain, "scale": np.ones(1, np.float32)}
    accuracies = {
        scale: float(np.mean([_correct(judge, images, pooled.scaled(scale)).mean() for images in seen]))
        for scale in SCALES
    }
    scale = largest(accuracies)  # the smaller of two that are equally good
    reached = plain if scale == 1 else _correct(judge, test, pooled.scaled(scale))[None]
    return {"reachable": reached, "scale": np.array([scale], np.float32)}


def ceilings_of(plan: HeadroomPlan) -> dict[str, str]:
    """Kind -> upload."""
    return {kind: getattr(plan, kind) for kind in CEILINGS}


def _correct(judge: Judge, test: DomainImages, update: Update | None) -> np.ndarray:
    """(n,) uint8, from the probabilities that `evaluate` takes its rows from."""
    return (judge.probabilities(test, update).argmax(1) == test.labels).astype(np.uint8)
