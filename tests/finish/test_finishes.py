"""Finishes: properties of every one, numbers of their authors' code, and limits."""

import pytest
import torch

import sap.finish  # noqa: F401  registers
from sap.errors import SapError
from sap.factors import Factors
from sap.finish._api import FINISHES, describe, finish
from sap.update import Update, stacks
from tests.merge import closed_form
from tests.merge.cohort import assert_close, make_client

DOUBLE = torch.float64
BLOCKS = [f"visual.transformer.resblocks.{block}.mlp.c_fc.weight" for block in range(3)]
SHAPES = {BLOCKS[0]: (24, 16), BLOCKS[1]: (16, 28), BLOCKS[2]: (20, 20), "visual.proj": (12, 18)}


def make_clients(n=4):
    return {f"client{k}": make_client(k, scale=1 + k / 2, shapes=SHAPES) for k in range(n)}


def mean(updates):
    total = sum(list(updates.values())[1:], next(iter(updates.values())))
    return total.scaled(1 / len(updates))


def finished(name, updates, merged=None, **options):
    return finish({"method": name, **options}, mean(updates) if merged is None else merged, stacks(updates))


def variants():
    """The defaults, and every choice of every option."""
    for name, entry in describe().items():
        properties = entry["options"]["properties"]
        for options in [{}, *({key: value} for key, field in properties.items() for value in field.get("enum", ()))]:
            yield pytest.param(name, options, id="-".join([name, *(f"{k}={v}" for k, v in options.items())]))


every_variant = pytest.mark.parametrize(("name", "options"), variants())


@every_variant
def test_client_order_does_not_matter(name, options):
    updates = make_clients()
    backwards = dict(reversed(updates.items()))
    assert_close(finished(name, backwards, **options), finished(name, updates, **options), 1e-5)


@every_variant
def test_zero_updates_stay_zero(name, options):
    zero = {client: update.scaled(0.0) for client, update in make_clients().items()}
    assert finished(name, zero, **options).norm() == 0


@every_variant
def test_twice_the_updates_are_twice_the_result(name, options):
    updates = make_clients()
    doubled = {client: update.scaled(2.0) for client, update in updates.items()}
    assert_close(finished(name, doubled, **options), finished(name, updates, **options).scaled(2.0), 1e-5)


@every_variant
def test_factors_stay_factors_and_agree_with_dense_updates_and_with_double_precision(name, options):
    updates = {f"client{k}": make_client(k, shapes=dict.fromkeys(BLOCKS, (60, 50)), rank=2) for k in range(3)}
    found = finished(name, updates, **options)
    assert all(isinstance(entry, Factors) for entry in found.values())
    dense = {client: Update({layer: update.dense(layer) for layer in update}) for client, update in updates.items()}
    assert_close(finished(name, dense, **options), found, 1e-4)
    double = {client: update.to(DOUBLE) for client, update in updates.items()}
    assert_close(found.to(DOUBLE), finished(name, double, **options), 1e-4)


@every_variant
def test_a_finish_leaves_what_it_is_given_alone_and_gives_the_same_bits_again(name, options):
    updates, merged = make_clients(), mean(make_clients())
    first, second = finished(name, updates, merged, **options), finished(name, updates, merged, **options)
    for layer in SHAPES:
        assert torch.equal(first.dense(layer), second.dense(layer))
        assert first.shape(layer) == SHAPES[layer]
        assert torch.equal(merged.dense(layer), mean(make_clients()).dense(layer))


@every_variant
def test_a_finish_changes_the_mean_of_unequal_clients(name, options):
    updates = make_clients()
    changed = finished(name, updates, **options)
    if name == "mean_at_norms":  # the mean at its own norms is the mean
        assert_close(changed, mean(updates), 1e-6)
        return
    assert max(float((changed.dense(layer) - mean(updates).dense(layer)).norm()) for layer in SHAPES) > 0.1


def test_names_and_options_that_do_not_exist_are_refused():
    with pytest.raises(SapError, match=r"unknown finish 'svd'. Did you mean 'svc'"):
        finished("svd", make_clients())
    with pytest.raises(SapError, match=r"finish\.svc: unknown key 'alfa'. Did you mean 'alpha'"):
        finished("svc", make_clients(), alfa=1.0)
    assert set(describe()) == set(FINISHES)


def test_a_result_that_is_not_finite_is_refused_with_its_layer():
    with pytest.raises(SapError, match=r"finish\.lines: layer .* holds NaN or Inf"):
        finished("lines", make_clients(), alpha=1e300, beta=0.0)


# SVC


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({}, (4.855430, 6.275293, -0.252392, 0.717464)),
        ({"alpha": 0.9}, (4.383084, 5.175871, -0.284233, 0.520861)),
        ({"alpha": 0.9, "rule": "first_release"}, (4.719885, 5.580983, -0.306734, 0.546494)),
        ({"alpha": 0.1, "rule": "first_release"}, (5.096431, 8.750617, -0.077004, 1.170413)),
    ],
)
def test_svc_on_the_closed_form_mean_has_the_numbers_of_the_authors_code(options, numbers):
    updates = closed_form.clients()
    merged = closed_form.merged("mean", updates)
    found = finished("svc", updates, Update({closed_form.LAYER: merged}), **options).dense(closed_form.LAYER)
    closed_form.assert_numbers(found, *numbers)


def along(strengths):
    """Clients U diag(x_k) Vᵀ of common orthonormal directions, and U and V."""
    rng = torch.Generator().manual_seed(0)
    q = len(strengths[0])
    U, V = (torch.linalg.qr(torch.randn(size, q, generator=rng, dtype=DOUBLE)).Q for size in (9, 7))
    x = torch.tensor(strengths, dtype=DOUBLE)
    return {f"client{k}": Update({"a": Factors(V.T, U * row)}) for k, row in enumerate(x)}, U, V


def strengths_after(updates, U, V, merged, **options):
    return (U.T @ finished("svc", updates, merged, **options).dense("a") @ V).diagonal()


def test_svc_keeps_what_all_share_and_enlarges_what_one_client_has_in_a_mean_and_lowers_what_all_share_in_a_sum():
    updates, U, V = along([[3.0, 5.0, 0.0], [3.0, 0.0, 4.0], [3.0, 0.0, 0.0]])
    one = mean(updates)
    expected = torch.tensor([3.0, 5.0, 4.0], dtype=DOUBLE)
    assert torch.allclose(strengths_after(updates, U, V, one), expected, atol=1e-12)
    assert torch.allclose(strengths_after(updates, U, V, one.scaled(3.0), alpha=1.0), expected, atol=1e-12)


def test_the_inverse_of_svc_favours_what_all_share_at_the_layers_norm():
    updates, U, V = along([[3.0, 5.0], [3.0, 0.0], [3.0, 0.0]])
    one = mean(updates)
    found = strengths_after(updates, U, V, one, sign="inverse")
    raw = torch.tensor([3.0, 5 / 9], dtype=DOUBLE)  # strengths 3 and 5/3 over γ = 1 and 3
    assert torch.allclose(found, raw * one.norm() / raw.norm(), atol=1e-12)


def test_the_first_release_of_svc_leaves_directions_alone_that_a_client_lacks_or_opposes():
    updates, U, V = along([[4.0, 5.0, 6.0], [2.0, 0.0, -1.0], [3.0, 1.0, 1.0]])
    found = strengths_after(updates, U, V, mean(updates), rule="first_release")
    shares = torch.tensor([3 / 4, 3 / 2, 1.0]).mean()
    assert torch.allclose(found, torch.tensor([3 / shares, 2.0, 2.0], dtype=DOUBLE), atol=1e-6)


def test_rounding_is_no_direction_of_a_client():
    """A client that has next to nothing along a direction would otherwise have an endless share of it."""
    updates, U, V = along([[3.0, 5.0], [3.0, 1e-9], [3.0, 0.0]])
    assert torch.allclose(
        strengths_after(updates, U, V, mean(updates)), torch.tensor([3.0, 5.0], dtype=DOUBLE), atol=1e-6
    )


# LiNeS


def scales(found, merged):
    return [found.norms()[layer] / merged.norms()[layer] for layer in (*BLOCKS, "visual.proj")]


def test_lines_is_a_ramp_over_the_blocks_and_alpha_elsewhere():
    updates = make_clients()
    found = finished("lines", updates, alpha=0.25, beta=0.5)
    assert scales(found, mean(updates)) == pytest.approx([0.25, 0.5, 0.75, 0.25], rel=1e-5)


def test_the_papers_alpha_makes_the_first_block_as_large_as_in_the_mean_whatever_the_merge_is():
    updates = make_clients()
    for scale in (0.3, 1.0, 4.0):
        merged = mean(updates).scaled(scale)
        found = finished("lines", updates, merged, beta=0.4)
        assert scales(found, merged) == pytest.approx([1 / scale + extra for extra in (0, 0.2, 0.4, 0)], rel=1e-5)
    norms = {layer: (k + 1.0) for k, layer in enumerate(SHAPES)}  # another merge: sizes count, not directions
    merged = mean(updates).scaled(norms)
    sizes = [sum(float(update.dense(layer).abs().sum()) for layer in SHAPES) for update in (mean(updates), merged)]
    assert scales(finished("lines", updates, merged, beta=0.0), merged)[0] == pytest.approx(
        sizes[0] / sizes[1], rel=1e-5
    )


def test_lines_at_equal_total_norm_keeps_the_ramp_and_the_norm():
    updates = make_clients()
    found = finished("lines", updates, alpha=0.25, beta=0.5, norm="total")
    assert found.norm() == pytest.approx(mean(updates).norm(), rel=1e-6)
    first, middle, last, other = scales(found, mean(updates))
    assert (middle / first, last / first, other / first) == pytest.approx((2, 3, 1), rel=1e-5)


def test_lines_refuses_an_update_without_visual_blocks_and_gives_a_single_block_alpha():
    shapes = {"transformer.resblocks.0.attn": (8, 8)}
    text = {f"client{k}": make_client(k, shapes=shapes) for k in range(2)}
    with pytest.raises(SapError, match=r"finish\.lines scales the blocks .*layer is transformer\.resblocks\.0\.attn"):
        finished("lines", text)
    single = {f"client{k}": make_client(k, shapes={BLOCKS[0]: (8, 8)}) for k in range(2)}
    found = finished("lines", single, alpha=0.5, beta=0.5)
    assert found.norm() == pytest.approx(0.5 * mean(single).norm(), rel=1e-6)


def test_the_control_is_the_mean_at_each_layers_norm_or_at_the_norm_of_all():
    updates = make_clients()
    plain, merged = mean(updates), updates["client3"]
    found = finished("mean_at_norms", updates, merged)
    for layer, norm in merged.norms().items():
        expected = plain.dense(layer) * (norm / plain.dense(layer).norm())
        assert torch.allclose(found.dense(layer), expected, atol=1e-5)
    total = finished("mean_at_norms", updates, merged, norm="total")
    assert total.norm() == pytest.approx(merged.norm())
    assert_close(total, plain.scaled(merged.norm() / plain.norm()), 1e-6)


def test_the_control_counts_every_client_alike_whatever_the_merge_weighs_by():
    updates = make_clients()
    weighed = stacks(updates, dict(zip(updates, (1, 2, 3, 10), strict=True)))
    found = finish("mean_at_norms", updates["client0"], weighed)
    assert_close(found, finished("mean_at_norms", updates, updates["client0"]), 1e-6)
