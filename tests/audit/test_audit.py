"""The audit tells what merges do, checked against merges whose weights are known."""

import math

import pytest
import torch

import sap.merge
import sap.prune  # noqa: F401  both imports register
from sap.compose import Composer
from sap.factors import Factors
from sap.stages.audit.run import audit_point
from sap.update import Update
from tests.merge.cohort import COUNTS, SHAPES, extras_of, make_client, make_clients


def audit(updates, merge, **point):
    counts = {client: COUNTS[client] for client in updates}
    grams = extras_of(updates, {"gram"})["gram"]
    clients = list(updates)

    def statistics(settings, client):
        return {f"{layer}/gram": grams(layer)(clients.index(client)) for layer in SHAPES}

    composer = Composer(updates, counts, statistics=statistics)
    return list(audit_point(composer, {"merge": {"method": merge}, **point}))


def test_a_linear_merge_shows_its_weights_and_nothing_else():
    updates = make_clients()
    for row in audit(updates, "mean"):
        assert list(row["coefficients"]) == sorted(updates)
        assert all(c == pytest.approx(1 / 4, abs=1e-5) for c in row["coefficients"].values())
        assert (row["unexplained"], row["order"], row["scale"]) == pytest.approx((0, 0, 0), abs=1e-5)
        assert row["denominator"] == pytest.approx(4, rel=1e-5)
        assert (row["survivors"], row["rank"], row["upload_bytes"]) == (4, 12, 0)
    weighted = audit(updates, "weighted_mean")[0]["coefficients"]
    total = sum(COUNTS[client] for client in updates)
    assert weighted == pytest.approx({client: COUNTS[client] / total for client in sorted(updates)}, abs=1e-5)


def test_product_of_means_weighs_a_client_one_over_k_squared_and_the_rest_is_cross_terms():
    """Wide layers: independent factors are nearly orthogonal there, so a client's own product stands alone."""
    shapes = {"layer": (600, 500)}
    updates = {name: make_client(seed, shapes=shapes, rank=2) for seed, name in enumerate(("art", "photo", "quick"))}
    (row,) = audit(updates, "product_of_means")
    assert all(c == pytest.approx(1 / 9, rel=0.35) for c in row["coefficients"].values())
    own, merged = (
        math.fsum(float((update.dense("layer") / 9).norm() ** 2) for update in updates.values()),
        row["energy"],
    )
    assert row["unexplained"] == pytest.approx(1 - own / merged, abs=0.1)
    assert row["cross"] == pytest.approx(row["unexplained"], abs=1e-6)
    shared = {name: Update({"layer": Factors(updates["art"]["layer"].A, u["layer"].B)}) for name, u in updates.items()}
    (row,) = audit(shared, "product_of_means")
    assert all(c == pytest.approx(1 / 3, rel=1e-4) for c in row["coefficients"].values())
    assert row["unexplained"] == pytest.approx(0, abs=1e-5)


def test_pruning_is_audited_on_what_the_merge_receives():
    updates = make_clients()
    point = {"criterion": "magnitude", "prune_ratio": 0.75}
    for row in audit(updates, "mean", **point):
        assert row["survivors"] == pytest.approx(1, abs=0.01)
        assert all(c == pytest.approx(1 / 4, abs=1e-5) for c in row["coefficients"].values())
    for plain, shrunk in zip(
        audit(updates, "mean", **point), audit(updates, "mean", control="shrunk", **point), strict=True
    ):
        assert shrunk["survivors"] == 4
        assert shrunk["energy"] == pytest.approx(plain["energy"], rel=1e-4)


def test_what_a_merge_does_not_have_is_measured():
    updates = make_clients()
    (row, _) = audit(updates, "ties", scale=2.0)
    assert row["unexplained"] > 0.05
    assert row["cross"] < 0.5 * row["unexplained"]  # an election makes no products of two clients' factors
    assert row["order"] <= 1e-5
    truncated = audit(updates, "mean", rank=2)
    assert [row["rank"] for row in truncated] == [2, 2]
    assert all(row["unexplained"] > 0.01 for row in truncated)


def test_uploaded_statistics_are_counted_only_where_a_client_sends_them():
    updates = make_clients()
    sent = audit(updates, "regmean", statistics="client", measured={"gram": "x"})
    assert [row["upload_bytes"] for row in sent] == [4 * 16 * 16, 4 * 28 * 28]
    assert all(row["upload_bytes"] == 0 for row in audit(updates, "regmean", statistics="anchors"))


def test_clients_without_an_update_weigh_nothing():
    zero = {client: update.scaled(0.0) for client, update in make_clients().items()}
    (row, _) = audit(zero, "mean")
    assert (row["energy"], row["unexplained"], row["denominator"], row["rank"]) == (0, 0, None, 0)
    assert not any(row["coefficients"].values())


def test_coinciding_clients_share_their_weight():
    one = make_client(3)
    (row, _) = audit({"art": one, "photo": one, "real": make_client(4)}, "mean")
    assert row["coefficients"] == pytest.approx(dict.fromkeys(("art", "photo", "real"), 1 / 3), abs=1e-5)
    assert torch.isfinite(torch.tensor(row["norm_ratio"]))
