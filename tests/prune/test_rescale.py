"""Rescaling gives back what it promises: expectations, norms, and RobustMerge's row sums."""

import pytest
import torch

from sap.errors import SapError
from sap.prune.mask import Rule
from sap.prune.pruner import Pruner
from sap.prune.rescale import RESCALES, norm, rescale
from sap.update import Factors, Update
from tests.merge import closed_form

HALF = Rule(0.5)


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def dense():
    before = random(8, 6)
    return before, before * (before > 0.5)


def factors():
    A, B = random(2, 6), random(7, 2)
    return Factors(A, B), Factors(A * (A > 0), B * (B > 0))


def apply(name, before, after, rule=HALF):
    return rescale(name, before, after, rule, lambda: 3.0)


def product(entry):
    return entry.B @ entry.A


@pytest.mark.parametrize("made", [dense, factors])
def test_frobenius_and_l1_give_the_layer_its_norm_back(made):
    before, after = made()
    assert norm(apply("frobenius", before, after)) == pytest.approx(norm(before), rel=1e-5)
    l1 = apply("l1", before, after)
    size = [float((product(entry) if isinstance(entry, Factors) else entry).abs().sum()) for entry in (before, l1)]
    assert size[1] == pytest.approx(size[0], rel=1e-5)
    assert isinstance(l1, type(before))  # factors stay factors


def test_inverse_density_divides_entries_both_factors_or_a_unit_once():
    before, after = dense()
    torch.testing.assert_close(apply("inverse_density", before, after, Rule(0.75)), 4 * after)
    before, after = factors()
    torch.testing.assert_close(product(apply("inverse_density", before, after, Rule(0.75))), 16 * product(after))
    for unit in ("row", "component", "layer"):
        once = apply("inverse_density", before, after, Rule(0.75, unit=unit))
        torch.testing.assert_close(product(once), 4 * product(after))


@pytest.mark.parametrize("unit", ["entry", "row", "component"])
def test_inverse_density_restores_the_expectation_of_random_masks(unit):
    before, total, draws = factors()[0], torch.zeros(7, 6), 4000
    for seed in range(draws):
        point = {"criterion": "random", "space": "factors", "scope": "layer", "unit": unit, "reduction": ""}
        point |= {"prune_ratio": 0.5, "rescale": "inverse_density"}
        total += product(Pruner({"art": Update({"b": before})}, None, seed).entry(point, "art", "b"))
    # of 7 rows floor(3.5) = 3 go, so 4/7 stay where 1/2 is promised; 12, 14 entries and 2 components halve exactly
    expected = product(before) * (8 / 7 if unit == "row" else 1)
    assert (total / draws - expected).abs().max() < 0.15 * expected.abs().max()


@pytest.mark.parametrize("name", RESCALES)
@pytest.mark.parametrize("made", [dense, factors])
def test_without_pruning_every_rescale_is_the_identity(name, made):
    before, _ = made()
    if name == "robustmerge" and made is dense:
        pytest.skip("refused")
    result = rescale(name, before, before, Rule(0.0), lambda: 1.0)
    for a, b in zip(result, before, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", RESCALES)
def test_nothing_left_stays_nothing(name):
    before, _ = factors()
    gone = Factors(before.A * 0, before.B * 0)
    assert norm(apply(name, before, gone, Rule(1.0))) == 0


def test_the_model_norm_is_kept_by_one_factor_for_all_layers():
    made = Update({"a": random(8, 6), "b": 5 * random(9, 4), "c": torch.zeros(3, 3)})
    point = {"criterion": "magnitude", "space": "delta", "scope": "model", "prune_ratio": 0.7}
    pruner = Pruner({"art": made}, None, 0)
    plain, kept = (
        Update({layer: pruner.entry(point | {"rescale": name}, "art", layer) for layer in made})
        for name in ("none", "frobenius_model")
    )
    assert kept.norm() == pytest.approx(made.norm(), rel=1e-6)
    factor = made.norm() / plain.norm()
    for layer in made:
        torch.testing.assert_close(kept.dense(layer), factor * plain.dense(layer))
    assert kept.norms()["a"] != pytest.approx(made.norms()["a"], rel=1e-2)  # unlike `frobenius`


def test_the_model_norm_of_another_rule_is_another_number():
    made = Update({"a": random(8, 6), "b": 5 * random(9, 4)})
    pruner = Pruner({"art": made, "photo": made.scaled(2.0)}, None, 0)
    point = {"criterion": "magnitude", "space": "delta", "scope": "model", "rescale": "frobenius_model"}
    for ratio in (0.2, 0.8):
        for client in ("art", "photo"):
            merged = Update({layer: pruner.entry(point | {"prune_ratio": ratio}, client, layer) for layer in made})
            assert merged.norm() == pytest.approx((2 if client == "photo" else 1) * made.norm(), rel=1e-6)


def test_robustmerge_has_the_published_scales():
    """S of the closed form input, keep ≥ the int(N / 2)-th smallest: 7 of A's 16 and 5 of B's 12 numbers go."""
    published = [(1.35963, 1.18661), (1.31552, 1.42293), (1.17822, 1.35030)]
    updates = closed_form.clients()
    pruner = Pruner(updates, None, 0)
    point = {"criterion": "magnitude", "space": "factors", "scope": "layer", "prune_ratio": 0.4375}
    for client, want in zip(updates, published, strict=True):
        plain, lifted = (
            pruner.entry(point | {"rescale": name}, client, closed_form.LAYER) for name in ("none", "robustmerge")
        )
        assert torch.equal(lifted.A, plain.A)
        S = lifted.B.abs().sum(0) / plain.B.abs().sum(0)
        assert S.tolist() == pytest.approx(want, abs=1e-5)


def test_robustmerge_leaves_a_component_alone_whose_row_of_a_is_gone():
    before, after = factors()
    after = Factors(after.A * torch.tensor([[0.0], [1.0]]), after.B)
    assert torch.equal(apply("robustmerge", before, after).B[:, 0], after.B[:, 0])


def test_an_unknown_rescale_names_the_known_ones():
    with pytest.raises(SapError, match="Known: none, inverse_density, frobenius, frobenius_model, l1, robustmerge"):
        apply("norm", *dense())
