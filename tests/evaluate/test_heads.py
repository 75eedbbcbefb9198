"""Kinds that read what clients measure of their images: their formulas, limits, costs, and what they refuse."""

import math
import re

import numpy as np
import pytest
import torch

from sap.errors import SapError
from sap.serve._api import KINDS, Fold, size_of
from sap.serve._sums import Sums, added, sums_of
from sap.serve.gda import head
from sap.serve.vrf import distance
from tests.evaluate.test_fusions import LinearJudge, random_update, softmax

C, E = 4, 6
UPDATE = random_update(1)


def features(n, seed, width=E):
    rng = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, width, generator=rng, dtype=torch.float64) + 0.5, dim=1)


def sums(x, labels, n_classes=C) -> Sums:
    members = torch.nn.functional.one_hot(labels, n_classes).to(x)
    return Sums(members.sum(0), members.T @ x, x.T @ x)


def uploaded(kind, found: Sums):
    return dict(zip((f"{kind}/count", f"{kind}/sum", f"{kind}/outer"), found, strict=True))


X, Y = features(60, 0), torch.arange(60) % C
PARTS = {"art": slice(0, 25), "photo": slice(25, 60)}
MOMENTS = {client: uploaded("moments", sums(X[part], Y[part])) for client, part in PARTS.items()}
FAILED = {"art": features(9, 1), "photo": features(14, 2)}
FAILURES = {
    client: uploaded("failures", sums(x, torch.zeros(len(x), dtype=torch.int64), 1)) for client, x in FAILED.items()
}


class FeatureJudge(LinearJudge):
    """The linear judge with frozen features and class texts of its own, and zero-shot logits that follow from them."""

    def __init__(self):
        super().__init__(n=7, n_classes=C)
        self.features, self.logit_scale, self.images = features(C, 5), 20.0, features(7, 6)
        self.frozen = self.logit_scale * (self.images @ self.features.T).numpy()

    def image_features(self, images, update):
        assert update is None
        return self.images.numpy()


def serve(kind, statistics, **options):
    read = lambda _, client: statistics[client]  # noqa: E731
    fold = Fold(tuple(statistics), {}, lambda _: UPDATE, None, None, None, read, (), None)
    return KINDS[kind].make({"kind": kind, "serve": options, "beside": []}, fold)


@pytest.fixture
def judge():
    return FeatureJudge()


def by_authors(x, y):
    """W, b of mrflogs/ICLR24 main_robustness.py, from the features themselves."""
    mus = torch.stack([x[y == c].mean(0) for c in range(C)])
    centred = torch.cat([x[y == c] - mus[c] for c in range(C)])
    cov = centred.T.cov()
    P = E * torch.linalg.pinv((len(x) - 1) * cov + cov.trace() * torch.eye(E, dtype=x.dtype))
    return P @ mus.T, math.log(1 / C) - torch.einsum("nd,dc,nc->n", mus, P, mus) / 2


def test_the_head_from_sums_of_two_clients_is_the_authors_from_all_features(judge):
    W, b = by_authors(X, Y)
    found = [sums_of(MOMENTS[client], client, "moments", C, E) for client in MOMENTS]
    torch.testing.assert_close(head(added(found)), (W, b))
    served = serve("gda", MOMENTS, alpha=0.3)
    wanted = softmax(judge.frozen + 0.3 * (judge.images @ W + b).numpy())
    np.testing.assert_allclose(served.predict(judge, None), wanted, rtol=1e-5)
    assert (served.passes, served.parameters, served.update) == (1, C * E + C, None)
    assert served.facts == {"uploaded": C + C * E + E * E}


def test_without_weight_the_head_is_zero_shot(judge):
    np.testing.assert_allclose(serve("gda", MOMENTS, alpha=0.0).predict(judge, None), softmax(judge.frozen), rtol=1e-5)


def test_a_class_without_images_is_treated_as_the_mean_of_all(judge):
    seen = Y < C - 1
    W, b = head(sums(X[seen], Y[seen]))
    assert bool(W.isfinite().all())
    assert bool(b.isfinite().all())
    grand = X[seen].mean(0)
    P = torch.linalg.lstsq(torch.stack([X[seen & (c == Y)].mean(0) for c in range(C - 1)] + [grand]), W.T).solution
    torch.testing.assert_close(W[:, -1], P.T @ grand)
    with pytest.raises(SapError, match=r"serve\.gda: the clients' images of a class are all alike"):
        head(sums(X[:2], Y[:2]))


def by_hand(x):
    """d² of one image set, from its features and not from sums."""
    centred = x - x.mean(0)
    cov = centred.T @ centred / (len(x) - 1)
    shrunk = cov / 2 + cov.trace() / E * torch.eye(E, dtype=x.dtype) / 2
    return lambda f: ((f - x.mean(0)) @ torch.linalg.inv(shrunk) * (f - x.mean(0))).sum(1) / E


def test_vrf_mixes_by_the_distance_to_the_nearest_failure_set(judge):
    d = torch.stack([by_hand(x)(judge.images) for x in FAILED.values()]).amin(0).sqrt().numpy()
    options = {"a": 0.85, "b": 0.1, "temperature_zero_shot": 2.0, "temperature_merge": 0.5}
    w = (1 / (1 + np.exp((d - 0.85) / 0.1)))[:, None]
    served = serve("vrf", FAILURES, **options)
    own = softmax(judge.logits(None, UPDATE) / 0.5)
    np.testing.assert_allclose(
        served.predict(judge, None), (1 - w) * softmax(judge.frozen / 2) + w * own, rtol=1e-6, atol=1e-12
    )
    assert w.min() < 0.5 < w.max()
    assert (served.passes, served.parameters) == (2, size_of(UPDATE) + 2 * (1 + E + E * E))
    assert served.facts == {"uploaded": 1 + E + E * E}


def test_the_distance_is_about_one_inside_a_large_set_and_grows_outside():
    x = features(400, 7)
    inside, outside = (distance(each, [sums(x, torch.zeros(400, dtype=torch.int64), 1)]) for each in (x, -x))
    assert 0.7 < float(inside.square().mean()) < 1.2
    assert float(outside.mean()) > 1.3 * float(inside.mean())


def test_where_nobody_saw_two_failures_vrf_is_zero_shot(judge):
    nothing = {client: {name: 0 * tensor for name, tensor in found.items()} for client, found in FAILURES.items()}
    one = uploaded("failures", sums(FAILED["art"][:1], torch.zeros(1, dtype=torch.int64), 1))
    one["failures/outer"] = one["failures/outer"] * 1.0005  # rounding can leave one image a spread
    for statistics in (nothing, nothing | {"art": one}):
        np.testing.assert_allclose(serve("vrf", statistics).predict(judge, None), softmax(judge.frozen), rtol=1e-10)
    alone = serve("vrf", {"photo": FAILURES["photo"]}).predict(judge, None)
    both = serve("vrf", nothing | {"photo": FAILURES["photo"]}).predict(judge, None)
    np.testing.assert_allclose(both, alone, rtol=1e-12)


def changed(**tensors):
    return MOMENTS["art"] | {f"moments/{name}": tensor for name, tensor in tensors.items()}


COUNT, SUM, OUTER = MOMENTS["art"].values()


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({}, "its moments/count must be there, finite and of shape (4,), got nothing"),
        (changed(sum=SUM[:, :5]), "its moments/sum must be there, finite and of shape (4, 6), got shape (4, 5)"),
        (changed(outer=OUTER / 0), "its moments/outer must be there, finite and of shape (6, 6)"),
        (changed(count=COUNT + 0.5), "its moments/count must hold whole numbers of images, has 7.5"),
        (changed(count=COUNT - 7), "its moments/count must hold whole numbers of images, has -1"),
        (changed(count=COUNT * 2), "its moments must be sums of 50 features of length 1, their squares sum to 25"),
        (changed(sum=SUM * 2), "its moments must be sums of 25 features of length 1"),
        (changed(outer=OUTER * 2), "its moments must be sums of 25 features of length 1, their squares sum to 50"),
    ],
)
def test_an_upload_that_cannot_be_such_sums_is_refused_with_the_client(judge, found, sentence):
    with pytest.raises(SapError, match=re.escape(f"client 'art': {sentence}")):
        serve("gda", MOMENTS | {"art": found}).predict(judge, None) if found else sums_of({}, "art", "moments", C, E)


def test_sums_in_single_precision_are_accepted(judge):
    single = {client: {name: t.float() for name, t in found.items()} for client, found in MOMENTS.items()}
    found, wanted = (serve("gda", each).predict(judge, None) for each in (single, MOMENTS))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
