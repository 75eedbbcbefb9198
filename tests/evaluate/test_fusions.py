"""Points that are judged as a fusion of models: what their probabilities are, and what they cost."""

from typing import Any

import numpy as np
import pytest
import torch

from sap.factors import Factors
from sap.serve._api import KINDS, Fold, size_of
from sap.update import Update


class LinearJudge:
    """Stands for the frozen model: logits are linear in the update, zero-shot ones are fixed; float64 throughout."""

    def __init__(self, n=7, n_classes=5, sharpness=3.0):
        rng = np.random.default_rng(0)
        self.frozen = sharpness * rng.normal(size=(n, n_classes))
        self.left, self.right = rng.normal(size=(n, 4)), rng.normal(size=(6, n_classes))

    def logits(self, images: Any, update: Update | None, features: Any = None) -> np.ndarray:
        return self.frozen if update is None else self.frozen + self.left @ update.dense("layer").numpy() @ self.right

    def probabilities(self, images: Any, update: Update | None) -> np.ndarray:
        return softmax(self.logits(images, update))


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(1).numpy()


def random_update(seed: int) -> Update:
    rng = torch.Generator().manual_seed(seed)
    A, B = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((2, 6), (4, 2)))
    return Update({"layer": Factors(A, B)})


UPDATES = {"mean": random_update(1), "ties": random_update(2)}
ZERO_SHOT, TIES = {"kind": "zero_shot"}, {"kind": "merge", "merge": "ties"}


def serve(kind: str, *beside: dict, **options: Any):
    fold = Fold((), {}, lambda settings: UPDATES[settings["merge"]], None, None, None, None, (), None)
    return KINDS[kind].make({"kind": kind, "merge": "mean", "serve": options, "beside": list(beside)}, fold)


@pytest.fixture
def judge():
    return LinearJudge()


@pytest.mark.parametrize(("other", "update"), [(ZERO_SHOT, None), (TIES, UPDATES["ties"])])
def test_a_mixture_is_the_weighted_mean_of_probabilities(judge, other, update):
    own, beside = judge.probabilities(None, UPDATES["mean"]), judge.probabilities(None, update)
    served = serve("mixture", other, weight=0.3)
    np.testing.assert_allclose(served.predict(judge, None), 0.3 * own + 0.7 * beside, rtol=1e-12)
    assert (served.passes, served.parameters) == (2, size_of(UPDATES["mean"], update))


@pytest.mark.parametrize("kind", ["mixture", "product"])
@pytest.mark.parametrize(("weight", "update"), [(1.0, UPDATES["mean"]), (0.0, None)])
def test_at_the_ends_of_the_weight_one_model_speaks_alone(judge, kind, weight, update):
    found = serve(kind, ZERO_SHOT, weight=weight).predict(judge, None)
    np.testing.assert_allclose(found, judge.probabilities(None, update), rtol=1e-10)


def test_the_confidence_fusion_weighs_logits_by_how_sure_each_model_is(judge):
    own, other = judge.logits(None, UPDATES["mean"]), judge.logits(None, None)
    sure, beside = softmax(own).max(1), softmax(other).max(1)
    eta = 1 / (1 + np.exp(-np.log(sure / beside)))
    served = serve("confidence", ZERO_SHOT)
    want = softmax(eta[:, None] * own + (1 - eta[:, None]) * other)
    np.testing.assert_allclose(served.predict(judge, None), want, rtol=1e-10)
    assert (served.passes, served.parameters) == (2, size_of(UPDATES["mean"]))
    assert eta.min() < 0.45 < 0.55 < eta.max()  # it is no fixed weight


def test_equal_models_fuse_to_themselves_and_the_order_of_the_two_does_not_matter(judge):
    own = {"kind": "merge", "merge": "mean"}
    for kind in ("mixture", "product", "confidence"):
        found = serve(kind, own).predict(judge, None)
        np.testing.assert_allclose(found, judge.probabilities(None, UPDATES["mean"]), rtol=1e-10)
    swapped = {"kind": "confidence", "merge": "ties", "beside": [own]}
    fold = Fold((), {}, lambda settings: UPDATES[settings["merge"]], None, None, None, None, (), None)
    other = KINDS["confidence"].make(swapped, fold)
    np.testing.assert_allclose(serve("confidence", TIES).predict(judge, None), other.predict(judge, None), rtol=1e-12)


def test_the_average_over_scales_is_the_mean_over_the_path(judge):
    served = serve("scale_average", scales=[0.0, 0.5, 2.0])
    path = [judge.probabilities(None, UPDATES["mean"].scaled(scale)) for scale in (0.0, 0.5, 2.0)]
    np.testing.assert_allclose(served.predict(judge, None), np.mean(path, axis=0), rtol=1e-6)
    assert (served.passes, served.parameters) == (3, size_of(UPDATES["mean"]))
    alone = serve("scale_average", scales=[1.0]).predict(judge, None)
    np.testing.assert_allclose(alone, judge.probabilities(None, UPDATES["mean"]), rtol=1e-6)
    assert serve("scale_average").passes == 6


def test_a_fusion_may_stand_beside_a_fusion_and_every_pass_counts(judge):
    inner = {"kind": "scale_average", "merge": "ties", "serve": {"scales": [0.5, 1.0]}, "beside": []}
    served = serve("mixture", inner)
    own, path = judge.probabilities(None, UPDATES["mean"]), [UPDATES["ties"].scaled(scale) for scale in (0.5, 1.0)]
    want = own / 2 + sum(judge.probabilities(None, update) for update in path) / 4
    np.testing.assert_allclose(served.predict(judge, None), want, rtol=1e-6)
    assert (served.passes, served.parameters) == (3, size_of(*UPDATES.values()))
