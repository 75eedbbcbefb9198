"""The algebra of updates: low-rank results equal dense ones, and a model gets its very own weights back."""

import math

import numpy as np
import pytest
import torch

from sap.errors import SapError
from sap.update import Factors, Stack, Update, check_update, client_shares, load_update, save_update, stacks

SHAPES = {"block.2.w": (40, 24), "block.10.w": (24, 40), "block.1.w": (32, 32)}


def low_rank(seed=0, rank=3):
    rng = torch.Generator().manual_seed(seed)
    return Update(
        {
            layer: Factors(torch.randn(rank, n, generator=rng), torch.randn(m, rank, generator=rng))
            for layer, (m, n) in SHAPES.items()
        }
    )


def densify(update):
    return Update({layer: update.dense(layer) for layer in update})


def assert_same(a, b):
    assert list(a) == list(b)
    for layer in a:
        torch.testing.assert_close(a.dense(layer), b.dense(layer))


def test_layers_are_in_natural_order_whatever_order_they_came_in():
    assert list(low_rank()) == ["block.1.w", "block.2.w", "block.10.w"]
    assert list(Update(dict(reversed(list(low_rank().items()))))) == list(low_rank())


@pytest.mark.parametrize("left", [low_rank, lambda: densify(low_rank())], ids=["factors", "dense"])
@pytest.mark.parametrize("right", [lambda: low_rank(1, 5), lambda: densify(low_rank(1))], ids=["factors", "dense"])
def test_algebra_equals_the_dense_algebra(left, right):
    a, b = left(), right()
    total = a + b
    for layer in a:
        x, y = a.dense(layer), b.dense(layer)
        torch.testing.assert_close(total.dense(layer), x + y)
        torch.testing.assert_close(a.scaled(-0.5).dense(layer), -0.5 * x)
        assert a.norms()[layer] == pytest.approx(x.norm().item(), rel=1e-5)
        assert a.inners(b)[layer] == pytest.approx((x.double() * y.double()).sum().item(), rel=1e-4, abs=1e-3)
    flat = torch.cat([a.dense(layer).flatten() for layer in a])
    assert a.norm() == pytest.approx(flat.norm().item(), rel=1e-5)
    assert a.inner(a) == pytest.approx(a.norm() ** 2)


def test_sums_stay_low_rank_while_that_is_smaller_and_cancel_exactly_enough():
    a = low_rank()
    assert isinstance((a + a)["block.1.w"], Factors)
    many = a
    for _ in range(4):
        many = many + a  # rank 15 of at most 16: still smaller than dense only in no layer of 32 × 32
    assert not isinstance((many + a)["block.1.w"], Factors)
    assert (a + a.scaled(-1)).norm() < 1e-5 * a.norm()


def test_scaling_takes_one_number_or_one_per_layer():
    a = low_rank()
    scales = {layer: float(i) for i, layer in enumerate(a)}
    assert a.scaled(scales).norms() == pytest.approx({layer: scales[layer] * norm for layer, norm in a.norms().items()})


def test_different_layers_do_not_add_up():
    a = low_rank()
    with pytest.raises(SapError, match=r"block\.1\.w"):
        a + Update({layer: a[layer] for layer in list(a)[1:]})


def test_saving_and_loading_keeps_every_bit(tmp_path):
    mixed = Update(dict(low_rank()) | {"block.1.w": torch.randn(32, 32)})
    save_update(tmp_path / "update.safetensors", mixed, {"point": "x"})
    again = load_update(tmp_path / "update.safetensors")
    assert list(again) == list(mixed)
    for layer in mixed:
        assert type(again[layer]) is type(mixed[layer])
        assert torch.equal(again.dense(layer), mixed.dense(layer))


def test_a_truncated_update_file_is_one_sentence(tmp_path):
    path = tmp_path / "update.safetensors"
    save_update(path, low_rank())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SapError, match="cannot be read"):
        load_update(path)


class Model(torch.nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.in_proj_weight = torch.nn.Parameter(torch.randn(6, 4).to(dtype), requires_grad=False)
        self.fc = torch.nn.Linear(4, 5, bias=False).to(dtype)


def model_update(scale=1.0):
    return Update(
        {
            "in_proj_weight": Factors(torch.randn(2, 4), scale * torch.randn(6, 2)),
            "fc.weight": scale * torch.randn(5, 4),
        }
    )


def test_applying_adds_and_leaving_restores_the_very_same_tensors():
    model, update = Model(), model_update()
    parameters = dict(model.named_parameters())
    tensors = {name: parameter.data_ptr() for name, parameter in parameters.items()}
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with update.applied(model) as same:
        assert same is model
        for name, parameter in model.named_parameters():
            assert parameter is parameters[name]
            assert torch.equal(parameter, before[name] + update.dense(name))
    for name, parameter in model.named_parameters():
        assert parameter is parameters[name]
        assert parameter.data_ptr() == tensors[name]
        assert torch.equal(parameter, before[name])


def test_the_model_is_restored_after_an_error_and_after_nesting():
    model, update = Model(), model_update()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with pytest.raises(RuntimeError, match="boom"), update.applied(model), update.scaled(-1).applied(model):
        raise RuntimeError("boom")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_layer_that_does_not_fit_is_refused_before_anything_changes():
    model = Model()
    before = model.fc.weight.detach().clone()
    with pytest.raises(SapError, match="does not exist"), Update({"gone.weight": torch.zeros(5, 4)}).applied(model):
        pass
    wrong = Update({"fc.weight": torch.ones(5, 4), "in_proj_weight": torch.ones(4, 6)})
    with pytest.raises(SapError, match="in_proj_weight must have shape"), wrong.applied(model):
        pass
    assert torch.equal(model.fc.weight, before)


def test_a_zero_update_leaves_the_outputs_bit_identical():
    model, x = Model(), torch.randn(3, 4)
    with model_update(0.0).applied(model):
        inside = model.fc(x)
    assert torch.equal(inside, model.fc(x))


def test_applying_works_in_half_precision_and_under_inference_mode():
    model, update = Model(torch.bfloat16), model_update()
    with torch.inference_mode(), update.applied(model):
        assert model.fc.weight.dtype == torch.bfloat16
        want = (model.fc.weight.double() - update.dense("fc.weight").double()).abs().max()
    assert want < 10
    assert not model.fc.weight.is_inference()


def test_check_update_names_layer_and_shapes():
    update = low_rank()
    check_update(update, SHAPES)
    with pytest.raises(SapError, match=r"upload: layer block\.1\.w does not exist"):
        check_update(update, {k: v for k, v in SHAPES.items() if k != "block.1.w"}, "upload")
    with pytest.raises(SapError, match=r"block\.1\.w must have shape \(1, 1\), got \(32, 32\)"):
        check_update(update, SHAPES | {"block.1.w": (1, 1)})


def test_stacks_show_factors_dense_and_shares():
    updates = {"a": low_rank(0), "b": low_rank(1, 5)}
    stack = stacks(updates, {"a": 30, "b": 10})["block.2.w"]
    assert isinstance(stack, Stack)
    assert stack.clients == ("a", "b")
    assert stack.weights.tolist() == [0.75, 0.25]
    assert [f.A.shape[0] for f in stack.factors] == [3, 5]
    assert stack.dense.shape == (2, 40, 24)
    assert torch.equal(stack.dense[1], updates["b"].dense("block.2.w"))
    assert stack.low_rank
    assert [type(entry) for entry in stack.entries()] == [Factors, Factors]
    mixed = stacks({"a": low_rank(), "b": densify(low_rank())})["block.2.w"]
    assert not mixed.low_rank
    assert [entry.shape for entry in mixed.entries()] == [(40, 24), (40, 24)]
    with pytest.raises(TypeError, match="expected factors"):
        _ = mixed.factors


@pytest.mark.parametrize(
    "weight", [0, -1, math.nan, math.inf, True, "10", None, [1], 10**400], ids=lambda w: str(w)[:9]
)
def test_shares_need_positive_numbers(weight):
    for weights in ({"a": 1, "b": weight}, {"a": 1}):
        with pytest.raises(SapError, match=r"'b' must have a positive weight or sample count below 2\*\*53, got "):
            client_shares(("a", "b"), weights)


def test_weights_may_be_fractions_but_none_so_large_that_another_vanishes():
    assert client_shares(("a", "b"), {"a": 0.75, "b": 0.25}).tolist() == [0.75, 0.25]
    assert client_shares(("a", "b"), {"a": 2**53 - 1, "b": 2**53 - 1}).tolist() == [0.5, 0.5]
    assert client_shares(("a", "b"), {"a": np.int64(100), "b": np.float32(300)}).tolist() == [0.25, 0.75]
    for large in (1e308, 2**53):
        with pytest.raises(SapError, match=r"'a' must have a positive weight or sample count below 2\*\*53"):
            client_shares(("a", "b"), {"a": large, "b": 1})


def test_stacks_refuse_nan_other_layers_and_no_client():
    bad = Update(dict(low_rank()) | {"block.1.w": torch.full((32, 32), torch.nan)})
    with pytest.raises(SapError, match=r"update of 'b': layer block\.1\.w holds NaN"):
        stacks({"a": low_rank(), "b": bad})
    with pytest.raises(SapError, match="different layers"):
        stacks({"a": low_rank(), "b": Update({"block.1.w": torch.zeros(32, 32)})})
    with pytest.raises(SapError, match="no update"):
        stacks({})
