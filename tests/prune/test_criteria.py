"""Every score answers one question, and is a formula of what it declared to need."""

import pytest
import torch

from sap.errors import SapError
from sap.prune._api import CRITERIA, CRITERION_NEEDS, criterion, describe


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def given():
    """Everything that a criterion may need, for a weight (6, 5)."""
    rows = random(2, 20, 5)
    return {
        "gradient": random(1, 6, 5),
        "rng": torch.Generator().manual_seed(3),
        "fisher": random(4, 6, 5) ** 2,
        "gram": rows.T @ rows / 20,
    }


def score(name, weight=None, **extras):
    return CRITERIA[name].score(random(0, 6, 5) if weight is None else weight, **given() | extras)


def test_signed_scores_prune_first_what_removing_improves():
    """Quadratic toy loss L(w) = ½ Σ h (w − w*)²; removing w_j changes it by exactly −w_j g_j + ½ h_j w_j²."""
    h, target = torch.tensor([1e-3, 1e-3, 1e-3, 1e-3]), torch.tensor([300.0, -200.0, 5.0, -0.5])
    w = torch.tensor([0.1, 0.1, 0.1, 0.1])

    def loss(weights):
        return (0.5 * h * (weights - target) ** 2).sum()

    gradient = torch.func.grad(loss)(w)
    change = torch.stack([loss(w * (torch.arange(4) != j)) - loss(w) for j in range(4)])
    signed = CRITERIA["taylor_signed"].score(w, gradient=gradient)
    absolute = CRITERIA["taylor_absolute"].score(w, gradient=gradient)
    torch.testing.assert_close(signed, change, atol=1e-4, rtol=1e-2)  # the score predicts the loss change
    assert signed.argmin() == change.argmin() == 1  # removal helps most: pruned first
    assert signed.argmax() == change.argmax() == 0  # removal hurts most: stays
    assert absolute.argmin() == 3  # blind to direction: the smallest effect goes first
    assert torch.equal(absolute, signed.abs())


def test_brain_damage_is_the_loss_change_at_a_minimum():
    h, w = torch.tensor([[1.0, 4.0], [0.5, 9.0]]), torch.tensor([[3.0, -1.0], [2.0, 0.5]])
    change = [
        float((0.5 * h * (w * (torch.arange(4).reshape(2, 2) != j) - w) ** 2).sum()) for j in range(4)
    ]  # the loss is ½ Σ h (w' − w)²
    assert score("obd", w, fisher=h).flatten().tolist() == pytest.approx(change)
    assert torch.equal(score("fisher", w, fisher=h), h)


def test_wanda_is_the_change_of_the_layers_output():
    """‖X (W without one entry)ᵀ − X Wᵀ‖ = √rows · score."""
    X, W = random(5, 20, 5), random(0, 6, 5)
    found = score("wanda", W, gram=X.T @ X / 20)
    for i, j in ((0, 0), (2, 4), (5, 1)):
        without = W.clone()
        without[i, j] = 0
        assert float((X @ (without - W).T).norm()) == pytest.approx(float(found[i, j]) * 20**0.5, rel=1e-5)


def test_pruner_zero_by_hand():
    w, g = torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.tensor([[-1.0, 3.0], [2.0, -5.0]])
    want = torch.tensor([[1 * 0.0, 4 * 0.5], [9 * 0.25, 16 * 1.0]])  # |g| from 1 to 5
    torch.testing.assert_close(score("pruner_zero", w, gradient=g), want)
    torch.testing.assert_close(score("pruner_zero", w, gradient=-7 * g), want)
    assert score("pruner_zero", w, gradient=torch.ones(2, 2)).norm() == 0  # not 0/0


def test_gradient_scores_ignore_the_weight():
    g = given()["gradient"]
    assert torch.equal(score("gradient_magnitude"), g.abs())
    assert torch.equal(score("gradient_squared"), g**2)
    assert torch.equal(score("gradient_squared", random(9, 6, 5)), g**2)


def test_taylor_ranks_as_brain_damage_with_squared_gradients():
    found = score("taylor_absolute").flatten().argsort(), score("obd", fisher=given()["gradient"] ** 2)
    assert torch.equal(found[0], found[1].flatten().argsort())


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_scores_each_entry_and_leaves_its_inputs_alone(name):
    weight, extras = random(0, 6, 5), given()
    before = weight.clone(), {kind: extras[kind].clone() for kind in ("gradient", "fisher", "gram")}
    found = CRITERIA[name].score(weight, **extras)
    assert found.shape == weight.shape
    assert found.isfinite().all()
    assert torch.equal(found, score(name))
    assert torch.equal(weight, before[0])
    assert all(torch.equal(extras[kind], tensor) for kind, tensor in before[1].items())


@pytest.mark.parametrize("name", CRITERIA)
def test_a_weight_of_zero_scores_lowest_where_its_size_counts(name):
    weight = random(0, 6, 5)
    weight[2, 3] = 0
    if name in ("gradient_magnitude", "gradient_squared", "fisher", "random", "taylor_signed"):
        pytest.skip("does not measure size")
    assert score(name, weight)[2, 3] == 0 == score(name, weight).min()


def test_a_criterion_receives_only_what_it_declared():
    with pytest.raises(KeyError, match="gradient"):
        CRITERIA["taylor_absolute"].score(torch.ones(2, 2))
    CRITERIA["magnitude"].score(torch.ones(2, 2))  # nothing is needed, nothing is asked for


def test_registration_refuses_a_second_use_of_a_name_and_unknown_needs():
    with pytest.raises(SapError, match="registered twice"):
        criterion("magnitude")(lambda weight: weight)
    with pytest.raises(TypeError, match="needs"):
        criterion("new", needs={"labels"})
    with pytest.raises(SapError, match="Did you mean 'taylor_signed'"):
        CRITERIA["taylor_sign"]


def test_the_description_is_plain_and_complete():
    found = describe()
    assert set(found) == set(CRITERIA)
    assert found["random"] == {
        "module": "sap.prune.random",
        "summary": found["random"]["summary"],
        "needs": ["rng"],
        "signed": False,
    }
    assert all(entry["summary"] and set(entry["needs"]) <= set(CRITERION_NEEDS) for entry in found.values())
    assert [name for name, entry in found.items() if entry["signed"]] == ["taylor_signed"]
