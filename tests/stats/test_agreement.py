"""Agreement of clients and saliency of layers, against slow definitions."""

import math
import subprocess
import sys

import pytest
import torch

from sap.stats.agreement import chance_angle, client_agreement, layer_saliency
from sap.update import Factors, Update

SHAPES = {"a": (12, 10), "b": (9, 14)}


def make_client(seed):
    rng = torch.Generator().manual_seed(seed)
    return Update(
        {
            layer: Factors(torch.randn(2, n, generator=rng), torch.randn(m, 2, generator=rng))
            for layer, (m, n) in SHAPES.items()
        }
    )


def test_rows_equal_the_slow_definition():
    updates = {name: make_client(seed) for seed, name in enumerate(["art", "photo", "sketch"])}
    updates["photo"] = Update({layer: entry.B @ entry.A.relu() for layer, entry in updates["photo"].items()})
    rows = list(client_agreement(updates))
    assert [(row["layer"], row["client_a"], row["client_b"]) for row in rows[:3]] == [
        ("a", "art", "photo"),
        ("a", "art", "sketch"),
        ("a", "photo", "sketch"),
    ]
    assert len(rows) == 6
    for row in rows:
        x, y = (updates[row[name]].dense(row["layer"]).double() for name in ("client_a", "client_b"))
        assert row["cosine"] == pytest.approx(float((x * y).sum() / (x.norm() * y.norm())), abs=1e-6)
        conflict = x * y < 0
        assert row["sign_conflict"] == pytest.approx(float(conflict.double().mean()), abs=1e-9)
        mass = (x * y).abs()
        assert row["weighted_conflict"] == pytest.approx(float(mass[conflict].sum() / mass.sum()), abs=1e-5)
        left = [torch.linalg.svd(update).U[:, : torch.linalg.matrix_rank(update, rtol=1e-5)] for update in (x, y)]
        cosines = torch.linalg.svdvals(left[0].T @ left[1]).clamp(max=1)
        assert row["angle"] == pytest.approx(float(cosines.acos().rad2deg().mean()), abs=1e-3)


def test_extremes():
    one = make_client(0)
    updates = {"one": one, "same": one, "opposite": one.scaled(-2.0), "zero": one.scaled(0.0)}
    rows = {(r["client_a"], r["client_b"]): r for r in client_agreement(updates) if r["layer"] == "a"}
    assert rows["one", "same"]["cosine"] == pytest.approx(1)
    assert rows["one", "same"]["sign_conflict"] == 0
    assert rows["one", "opposite"]["cosine"] == pytest.approx(-1)
    assert rows["one", "opposite"]["sign_conflict"] == rows["one", "opposite"]["weighted_conflict"] == 1
    assert math.isnan(rows["one", "zero"]["cosine"])
    assert rows["one", "zero"]["sign_conflict"] == 0
    assert math.isnan(rows["one", "zero"]["weighted_conflict"])
    assert rows["one", "same"]["angle"] == rows["one", "opposite"]["angle"] == pytest.approx(0, abs=1e-5)
    assert math.isnan(rows["one", "zero"]["angle"])


def test_the_angle_is_between_the_outputs_directions_alone():
    """Planes that share one axis and differ by 30 degrees in the other; the inputs' side and the sizes do not count."""
    angle = math.radians(30)
    one = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]]).T
    other = torch.tensor([[1.0, 0, 0, 0], [0, math.cos(angle), math.sin(angle), 0]]).T
    rng = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 7, generator=rng) for _ in range(2)]
    updates = {"one": Update({"a": Factors(inputs[0], one)}), "other": Update({"a": Factors(9 * inputs[1], other)})}
    [row] = client_agreement(updates)
    assert row["angle"] == pytest.approx(15, abs=1e-4)
    first = Update({"a": Factors(inputs[0][:1], one[:, 1:])})  # of lower rank: as many angles as it has directions
    [row] = client_agreement({"one": first, "other": updates["other"]})
    assert row["angle"] == pytest.approx(30, abs=1e-4)


def test_the_chance_angle_is_that_of_random_updates():
    updates = {}
    for number in range(24):
        rng = torch.Generator().manual_seed(number)
        A, B = torch.randn(3, 9, generator=rng), torch.randn(40, 3, generator=rng)
        updates[str(number)] = Update({"a": Factors(A, B)})
    angles = [row["angle"] for row in client_agreement(updates)]
    assert chance_angle(40, 3, 3, seed=0) == pytest.approx(sum(angles) / len(angles), abs=1.0)
    assert chance_angle(40, 2, 5, seed=0) == chance_angle(40, 5, 2, seed=0) != chance_angle(40, 2, 5, seed=1)
    assert chance_angle(4, 4, 2, seed=0) == pytest.approx(0, abs=1e-5)  # the whole space holds every plane


def test_layer_saliency_adds_up():
    update = make_client(0)
    gradients = {layer: torch.randn(shape) for layer, shape in SHAPES.items()}
    rows = layer_saliency(update, gradients)
    assert sum(row["score_share"] for row in rows) == pytest.approx(1)
    total = sum(float((update.dense(layer) * gradients[layer]).sum()) for layer in SHAPES)
    assert sum(row["predicted_change"] for row in rows) == pytest.approx(-total, rel=1e-4)
    assert [row["entries"] for row in rows] == [120, 126]
    assert rows[0]["delta_norm"] == pytest.approx(update.dense("a").norm().item(), rel=1e-5)
    assert all(row["predicted_change"] is None for row in layer_saliency(update, gradients, signed=False))
    assert all(row["score_share"] == 0 for row in layer_saliency(update.scaled(0.0), gradients))


def test_the_module_imports_without_torch():
    code = "import sys, sap.stats.agreement; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
