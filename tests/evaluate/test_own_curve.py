"""λ by the clients' own curves: what is chosen, what is served, what it costs, and what is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from sap.errors import SapError
from sap.scales import SCALES
from sap.serve._api import KINDS, Fold
from tests.evaluate.test_fusions import LinearJudge, random_update

UPDATE = random_update(1)
RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
PEAKED = [0.1, 0.2, 0.9, 0.4, 0.3, 0.2, 0.1]


def fold_of(curves):
    uploads = {name: {"curve/accuracy": torch.tensor(curve)} for name, curve in curves.items()}
    left = lambda domain: fold_of({name: curve for name, curve in curves.items() if name != domain})  # noqa: E731
    read = lambda _, client: uploads[client]  # noqa: E731
    return Fold(tuple(curves), {}, lambda _: UPDATE, None, None, None, read, (), left)


def serve(curves, without=None):
    fold = fold_of(curves)
    return KINDS["own_curve"].make({"kind": "own_curve", "beside": []}, fold.without(without) if without else fold)


@pytest.mark.parametrize(
    ("curves", "scale"),
    [
        ({"art": RISING}, 1.5),
        ({"art": RISING, "photo": PEAKED}, 0.5),
        ({"art": [0.3] * 7, "photo": [0.2] * 7}, 0.0),
        ({"art": RISING[::-1]}, 0.0),
        # 2/3 + 1/3, 1/3 + 2/3 and 1 + 0 are equal, whatever float32 makes of a third
        ({"art": [0, 2 / 3, 1 / 3, 1, 0, 0, 0], "photo": [0, 1 / 3, 2 / 3, 0, 0, 0, 0]}, 0.25),
        ({"art": [0, 1 / 7, 3 / 7, 0, 0, 0, 0], "photo": [0, 6 / 7, 4 / 7, 0, 0, 0, 0]}, 0.25),
        ({"art": [0, 3 / 7, 1 / 7, 0, 0, 0, 0], "photo": [0, 4 / 7, 6 / 7 + 1e-4, 0, 0, 0, 0]}, 0.5),
    ],
)
def test_the_merge_is_served_at_the_smallest_of_the_scales_whose_mean_accuracy_is_best(curves, scale):
    served, judge = serve(curves), LinearJudge()
    assert served.facts == {"uploaded": len(SCALES), "scale": scale}
    assert (served.passes, served.parameters) == (1, 0)
    np.testing.assert_allclose(served.predict(judge, None), judge.probabilities(None, UPDATE.scaled(scale)))
    assert served.update.norm() == pytest.approx(scale * UPDATE.norm())


def test_a_client_that_is_held_out_has_no_say():
    curves = {"art": RISING, "photo": PEAKED}
    assert serve(curves, without="photo").facts["scale"] == 1.5
    assert serve(curves, without="art").facts["scale"] == 0.5


@pytest.mark.parametrize(
    ("curve", "sentence"),
    [
        (None, "its curve/accuracy must be there, finite and of shape (7,), got nothing. Leave it out"),
        (RISING[:6], "its curve/accuracy must be there, finite and of shape (7,), got shape (6,)"),
        ([RISING], "its curve/accuracy must be there, finite and of shape (7,), got shape (1, 7)"),
        ([float("nan"), *RISING[1:]], "its curve/accuracy must be there, finite and of shape (7,)"),
        ([*RISING[:6], 1.5], "its curve/accuracy must lie in [0, 1], has 1.5"),
        ([-0.25, *RISING[1:]], "its curve/accuracy must lie in [0, 1], has -0.25"),
    ],
)
def test_an_upload_that_is_no_curve_is_refused_with_the_client(curve, sentence):
    uploads = {"art": {"curve/accuracy": torch.tensor(RISING)}, "photo": {}}
    if curve is not None:
        uploads["photo"] = {"curve/accuracy": torch.tensor(curve)}
    fold = replace(fold_of({"art": RISING, "photo": PEAKED}), statistics=lambda _, client: uploads[client])
    with pytest.raises(SapError, match=re.escape(f"client 'photo': {sentence}")):
        KINDS["own_curve"].make({"kind": "own_curve", "beside": []}, fold)
