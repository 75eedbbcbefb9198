"""The newest merges: numbers of their authors' code, closed forms, limits, and what their docstrings promise."""

from itertools import permutations, product

import pytest
import torch

from sap.factors import Factors
from sap.lowrank import Svd, svd
from sap.merge.fedrpca import robust_pca
from sap.merge.git_rebasin import aligned
from sap.update import Update
from tests.merge import closed_form
from tests.merge.closed_form import LAYER
from tests.merge.cohort import COUNTS, SHAPES, make_client, make_clients, merge

DOUBLE = torch.float64


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def doubles(n=4):
    return {client: update.to(DOUBLE) for client, update in make_clients(n).items()}


def named(entries) -> dict[str, Update]:
    return {client: Update({LAYER: entry}) for client, entry in zip(COUNTS, entries, strict=False)}


def relative(a, b) -> float:
    return max(float((a.dense(layer) - b.dense(layer)).norm() / b.dense(layer).norm()) for layer in b)


# Numbers of the authors' code (see `checked` of each registration) on the closed-form input


@pytest.mark.parametrize(
    ("method", "options", "numbers"),
    [
        ("score", {}, (8.210795, 14.341019, 0.826426, 2.560845)),
        ("score", {"threshold": "paper"}, (11.591421, 14.980920, -0.340246, 1.386954)),
        ("score", {"keep": "diagonal"}, (7.968045, 12.911615, 1.086970, 3.011305)),
        ("score", {"keep": "off_diagonal"}, (1.981771, 1.429404, -0.260545, -0.450460)),
        ("pcb", {}, (3.376145, 5.530624, 0.0, 0.0)),
        ("pcb", {"ratio": 0.5}, (6.094199, 7.678883, 0.0, 1.402589)),
        ("magmax", {}, (6.735766, 6.797409, -0.627328, 1.515627)),
        ("fedomg", {}, (5.309384, 7.749734, -0.261536, 0.634193)),
        ("fedomg", {"c": 0.2}, (5.106602, 7.069862, -0.281348, 0.561999)),
        ("lora_fair", {}, (1.770506, -1.177548, -0.153262, 0.182498)),
        (
            "lora_fair",
            {"learning_rate": 0.1, "penalty": 0.0, "steps": 300},
            (1.781632, -1.205771, -0.151900, 0.182736),
        ),
    ],
)
def test_closed_form_numbers(method, options, numbers):
    closed_form.assert_numbers(closed_form.merged(method, **options), *numbers)


def test_pcb_over_two_layers_has_the_numbers_of_the_authors_code():
    """832 entries: enough that the first and the last percentile are not the extremes."""
    for ratio, norm, total in ((0.05, 89.269082, -94.407742), (0.3, 125.21003, -117.479674)):
        merged = merge("pcb", doubles(), ratio=ratio)
        assert merged.norm() == pytest.approx(norm, abs=2e-6)
        assert sum(float(merged.dense(layer).sum()) for layer in merged) == pytest.approx(total, abs=2e-6)


def test_fedomg_takes_the_best_mixture_that_its_search_met_and_not_the_last():
    """Numbers of the authors' code, whose last step on these clients gives 0.946 in the first entry."""
    rows = [[1.0, 0.0, 0.0], [-4.0, 1.0, 0.0], [2.0, 0.0, 9.0]]
    clients = named(torch.tensor([row], dtype=DOUBLE) for row in rows)
    for c, numbers in ((0.5, (-1.12310335, 1.11085732, 2.40001052)), (0.9, (-0.18919912, 1.64962447, 1.65745906))):
        assert merge("fedomg", clients, c=c).dense(LAYER)[0].tolist() == pytest.approx(numbers, abs=1e-7)


# SCORE


def test_score_does_not_depend_on_the_signs_that_an_svd_gives_its_vectors(monkeypatch):
    clients = doubles()
    before = merge("score", clients)

    def turned(entry):
        found = svd(entry)
        signs = torch.ones_like(found.S)
        signs[::2] = -1
        return Svd(found.U * signs, found.S, found.V * signs)

    monkeypatch.setattr("sap.merge.score.svd", turned)
    assert relative(merge("score", clients), before) < 1e-12


def test_score_with_every_entry_is_the_sum_of_low_rank_clients():
    clients = {f"client{k}": make_client(k, shapes={LAYER: (60, 50)}).to(DOUBLE) for k in range(4)}
    assert relative(merge("score", clients, keep="all"), merge("sum", clients, scale=1.0)) < 1e-12


def test_the_parts_of_score_add_up_to_it():
    for threshold in ("released", "paper"):
        parts = [merge("score", doubles(), keep=keep, threshold=threshold) for keep in ("diagonal", "off_diagonal")]
        assert relative(parts[0] + parts[1], merge("score", doubles(), threshold=threshold)) < 1e-12


def test_score_keeps_clients_of_disjoint_directions_whole_on_the_diagonal():
    """Orthogonal clients have diagonal cores: nothing lies off the diagonal, and the sum comes out."""
    parts = [Factors(torch.eye(12, dtype=DOUBLE)[k : k + 1], (k + 1) * torch.eye(9, dtype=DOUBLE)[:, k : k + 1])
             for k in range(3)]  # fmt: skip
    for keep in ("trimmed", "diagonal"):
        assert relative(merge("score", named(parts), keep=keep), merge("sum", named(parts), scale=1.0)) < 1e-12


# PCB and MagMax


def test_pcb_leaves_at_most_its_ratio_of_entries_per_client():
    clients = doubles()
    total = sum(m * n for m, n in SHAPES.values())
    merged = merge("pcb", clients, ratio=0.1)
    kept = sum(int((merged.dense(layer) != 0).sum()) for layer in merged)
    assert total * 0.1 <= kept <= len(clients) * total * 0.1


def test_pcb_stays_between_the_clients_where_it_is_not_zero():
    clients = doubles()
    merged = merge("pcb", clients, ratio=1.0)
    for layer in merged:
        every = torch.stack([update.dense(layer) for update in clients.values()])
        below = every.abs().amax(0) * 1.0000001
        assert (merged.dense(layer).abs() <= below.maximum(every.abs().flatten().quantile(0.01))).all()


def test_magmax_takes_the_largest_magnitude_and_of_two_opposed_ones_the_positive():
    rows = [[1.0, -5.0, 2.0, 0.0], [-3.0, 4.0, -2.0, 0.0], [2.0, 1.0, 0.5, 0.0]]
    clients = named(torch.tensor([row], dtype=DOUBLE) for row in rows)
    assert merge("magmax", clients).dense(LAYER).tolist() == [[-3.0, -5.0, 2.0, 0.0]]


# Agreement


def along(strengths):
    """Clients U diag(x_k) Vᵀ of common orthonormal directions, x of shape (K, q)."""
    x = torch.tensor(strengths, dtype=DOUBLE)
    U, V = torch.linalg.qr(random(9, x.shape[1])).Q, torch.linalg.qr(random(7, x.shape[1], seed=1)).Q
    return named(Factors(V.T, U * row) for row in x), U, V


def test_agreement_is_james_steins_estimate_of_each_direction():
    clients, U, V = along([[5.0, 4.0, 0.5], [4.0, 2.0, -1.0], [6.0, 0.0, 2.0]])
    merged = merge("agreement", clients, band=1).dense(LAYER)
    # means 5, 2, 0.5; variances 1, 4, 2.25
    expected = torch.tensor([5 * (1 - 1 / 75), 2 * (1 - 4 / 12), 0.0], dtype=DOUBLE)
    assert torch.allclose(U.T @ merged @ V, expected.diag(), atol=1e-12)


def test_agreement_pools_the_spread_of_neighbours_and_model_stocks_form_the_strength_too():
    clients, U, V = along([[5.0, 4.0, 0.5], [4.0, 2.0, -1.0], [6.0, 0.0, 2.0]])
    spread = torch.tensor([2.5, 7.25 / 3, 3.125], dtype=DOUBLE)  # of 1, 4 and 2.25 over each one and its neighbours
    energy = torch.tensor([14.5, 29.25 / 3, 2.125], dtype=DOUBLE)  # of 25, 4 and 0.25
    own = torch.tensor([25.0, 4.0, 0.25], dtype=DOUBLE)
    for form, below in (("james_stein", own), ("model_stock", energy)):
        expected = (1 - spread / (3 * below)).clamp(min=0) * own.sqrt()
        found = U.T @ merge("agreement", clients, form=form, band=3).dense(LAYER) @ V
        assert torch.allclose(found, expected.diag(), atol=1e-12), form


def test_without_a_band_both_forms_of_agreement_are_one():
    one, other = (merge("agreement", doubles(), form=form, band=1) for form in ("james_stein", "model_stock"))
    assert relative(one, other) < 1e-12


def test_agreement_over_all_directions_is_model_stock_of_clients_with_common_directions_and_equal_norms():
    clients, *_ = along([[5.0, 2.0, 1.0], [5.0, 1.0, 2.0], [5.0, 2.0, -1.0]])
    merged = merge("agreement", clients, form="model_stock", band=99)
    assert relative(merged, merge("model_stock", clients)) < 1e-12


def test_agreement_enlarges_no_layer_and_opposed_clients_leave_nothing():
    clients = doubles()
    mean = merge("mean", clients).norms()
    for band in (1, 5):
        assert all(norm < mean[layer] for layer, norm in merge("agreement", clients, band=band).norms().items())
    one = make_client(3).to(DOUBLE)
    assert merge("agreement", {"a": one, "b": one.scaled(-1.0), "c": one.scaled(0.1)}).norm() == 0


# SA-Merging


def on_the_diagonal(rows, gradients):
    """Clients diag(x_k) as factors of one component per entry, and the extra that gives them diag(g_k)."""
    x, g = torch.tensor(rows, dtype=DOUBLE), torch.tensor(gradients, dtype=DOUBLE)
    eye = torch.eye(x.shape[1], dtype=DOUBLE)
    return named(Factors(eye, eye * row) for row in x), {"gradient": lambda layer: lambda k: g[k].diag()}


def left(rows, gradients, **options):
    clients, extras = on_the_diagonal(rows, gradients)
    return closed_form.merged("sa_merging", clients, extras=extras, **options).diagonal().tolist()


def test_sa_merging_keeps_what_lowers_the_loss_and_is_shared():
    # γ = x g, η = x · mean of x: s = −g x² x̄ of client 1: 4·1.5·g = 1, 2, −3 times 6; of client 2: 1·1.5 times the same
    rows, gradients = [[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]], [[-1.0, -2.0, 3.0], [-3.0, 2.0, 1.0]]
    assert left(rows, gradients, keep=0.3, rounds=1) == [1.0, 2.0, 0.0]
    assert left(rows, gradients, keep=0.3, rounds=1, sign="absolute") == [1.0, 0.0, 2.0]
    assert left(rows, gradients, keep=0.5, rounds=1) == [3.0, 2.0, 1.0]  # two of three each


def test_sa_merging_takes_the_mean_of_what_is_left_in_every_round():
    # at once, client 1 keeps its first component: −g x² x̄ = 5 of x̄ = 2.5, against 4.5 of the second
    # client 2 drops its own first in the first of two rounds: x̄ is then 0.5, and client 1's second is left
    rows, gradients = [[1.0, 1.0, 0.1], [4.0, 1.5, 5.0]], [[-2.0, -3.6, -0.1], [1.0, -1.0, -1.0]]
    assert left(rows, gradients, keep=0.3, rounds=1) == [1.0, 0.0, 5.0]
    assert left(rows, gradients, keep=0.3, rounds=2) == [0.0, 1.0, 5.0]


def test_sa_merging_with_every_component_is_the_sum():
    assert relative(merge("sa_merging", doubles(), keep=1.0), merge("sum", doubles(), scale=1.0)) < 1e-12


# FedRPCA


def objective(L, S):
    return float(torch.linalg.svdvals(L).sum() + S.abs().sum() / max(L.shape) ** 0.5)


def test_no_small_exchange_between_common_and_peculiar_lowers_the_objective_of_robust_pca():
    M = random(40, 5) + 3 * random(40, 1, seed=1)
    L, S = robust_pca(M)
    assert torch.allclose(L + S, M, rtol=0, atol=1e-12)
    least = objective(L, S)
    assert least < min(objective(M, 0 * M), objective(0 * M, M)) - 0.1
    for seed in range(20):
        step = random(40, 5, seed=seed + 2)
        thin = step[:, :1] @ step[:1]
        few = step * (step.abs() > 2)
        for change, size in product((step, thin, few, L, S), (1e-3, -1e-3, 0.1)):
            assert objective(L + size * change, S - size * change) > least - 1e-5


def test_robust_pca_separates_a_common_column_from_large_entries_of_single_clients():
    common = torch.ones(64, 8, dtype=DOUBLE)
    common[::3] = -1
    peculiar = torch.zeros_like(common)
    peculiar[5, 2], peculiar[40, 6] = 50, -7
    L, S = robust_pca(common + peculiar)
    assert torch.allclose(L, common, atol=1e-5)
    assert torch.allclose(S, peculiar, atol=1e-5)


def test_fedrpca_scales_the_peculiar_part_alone_and_at_one_is_the_product_of_means():
    assert relative(merge("fedrpca", doubles(), beta=1.0), merge("product_of_means", doubles())) < 1e-12
    A = torch.ones(4, 16, dtype=DOUBLE)
    B = torch.ones(24, 4, dtype=DOUBLE)
    B[::2] = -1
    odd = B.clone()
    odd[3, 1] += 80
    clients = named([Factors(A, B)] * 5 + [Factors(A, odd)])
    for beta in (0.0, 3.0):
        expected = B.clone()
        expected[3, 1] += beta * 80 / 6
        assert torch.allclose(merge("fedrpca", clients, beta=beta).dense(LAYER), expected @ A, atol=1e-4), beta


# FedOMG


def test_fedomg_without_a_radius_is_the_mean():
    assert relative(merge("fedomg", doubles(), c=0.0), merge("mean", doubles())) < 1e-12


def test_fedomg_raises_the_least_inner_product_with_a_client():
    clients = doubles()
    mean, moved = merge("mean", clients), merge("fedomg", clients, c=0.5).scaled(1.25)  # without its last factor
    assert min(map(moved.inner, clients.values())) > min(map(mean.inner, clients.values()))
    distance = (moved + mean.scaled(-1.0)).norm()
    assert distance == pytest.approx(0.5 * mean.norm(), rel=1e-3)


# LoRA-FAIR


def test_lora_fair_turns_the_product_of_means_towards_the_mean():
    clients = doubles()
    mean = merge("mean", clients)
    cosines = [
        merged.inner(mean) / merged.norm() / mean.norm()
        for merged in (merge("lora_fair", clients, steps=steps, penalty=0.0, learning_rate=9.0) for steps in (0, 200))
    ]
    assert cosines[0] + 0.05 < cosines[1] < 1
    assert relative(merge("lora_fair", clients, steps=0), merge("product_of_means", clients)) < 1e-12


def test_lora_fair_is_the_mean_where_a_is_shared_and_a_penalty_holds_it_back():
    clients = closed_form.clients(shared_a=True)
    assert torch.allclose(closed_form.merged("lora_fair", clients), closed_form.merged("mean", clients), atol=1e-12)
    moved = [
        (closed_form.merged("lora_fair", penalty=penalty) - closed_form.merged("product_of_means")).norm()
        for penalty in (0.0, 1.0)
    ]
    assert moved[1] < 0.5 * moved[0]


# Git Re-Basin


def test_git_rebasin_undoes_permutations_and_signs_of_one_client():
    one = Factors(random(3, 8), random(6, 3, seed=1))
    copies = []
    for order, signs in zip(permutations(range(3)), product((1.0, -1.0), repeat=3), strict=False):
        sign = torch.tensor(signs, dtype=DOUBLE)
        copies.append(Factors(sign[:, None] * one.A[list(order)], sign * one.B[:, list(order)]))
    merged = merge("git_rebasin", named(copies)).dense(LAYER)
    assert torch.allclose(merged, one.B @ one.A, atol=1e-12)
    assert not torch.allclose(merge("product_of_means", named(copies)).dense(LAYER), merged, atol=0.1)


def test_aligning_finds_the_best_of_all_orders_and_leaves_the_update_as_it_is():
    unit = torch.nn.functional.normalize
    for seed in range(10):
        one, other = (Factors(unit(random(3, 8, seed=s), dim=1), unit(random(6, 3, seed=s + 50), dim=0)) for s in
                      (seed, seed + 100))  # fmt: skip
        cosines = ((one.B.T @ other.B) * (one.A @ other.A.T)).abs()
        best = max(permutations(range(3)), key=lambda order: float(cosines[range(3), list(order)].sum()))
        found = aligned(other, other, one)
        assert torch.allclose(found.B @ found.A, other.B @ other.A, atol=1e-14)
        assert torch.allclose(found.A.abs(), other.A[list(best)].abs())
        left_cosines, right_cosines = (found.B * one.B).sum(0), (found.A * one.A).sum(1)
        assert (torch.where(left_cosines.abs() > right_cosines.abs(), left_cosines, right_cosines) > 0).all()


@pytest.mark.parametrize(
    "method", ["score", "agreement", "sa_merging", "fedrpca", "fedomg", "lora_fair", "git_rebasin"]
)
def test_what_the_clients_send_as_factors_stays_factors(method):
    wide = {f"client{k}": make_client(k, shapes={LAYER: (80, 90)}) for k in range(4)}
    assert isinstance(merge(method, wide)[LAYER], Factors)
