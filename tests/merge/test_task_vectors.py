"""Averages and task vectors: closed-form numbers, limits, and cases worked by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sap.compose import Composer
from sap.errors import SapError
from sap.factors import Factors
from sap.merge._combine import by_sign
from sap.merge._dropping import LEVELS, keep_mask
from sap.merge._trimming import largest
from sap.selection import find_cut, floor_share, kept
from sap.update import Update
from tests.merge import closed_form
from tests.merge.closed_form import LAYER, assert_numbers
from tests.merge.cohort import COUNTS, SHAPES, assert_close, make_client, make_clients, merge

BY_ENTRY = {
    "ties": {},
    "magnitude": {},
    "breadcrumbs": {"gamma": 0.1},
    "breadcrumbs_ties": {"gamma": 0.1},
    "survivors_mean": {},
    "consensus": {},
    "emr": {},
    "sce": {"select_topk": 0.4},
}
ON_SPHERE = {"model_stock": 4, "multislerp": 4, "karcher": 4, "slerp": 2, "nuslerp": 2}  # method: clients


def rows_of(*rows) -> dict[str, Update]:
    """Clients of one layer (1, n), worked by hand."""
    return {
        client: Update({LAYER: torch.tensor([row], dtype=torch.float64)})
        for client, row in zip(COUNTS, rows, strict=False)
    }


def row_of(name, *rows, **options) -> list[float]:
    return merge(name, rows_of(*rows), **options).dense(LAYER)[0].tolist()


def dense(updates) -> dict[str, Update]:
    return {client: Update({layer: update.dense(layer) for layer in update}) for client, update in updates.items()}


def mapped(updates, function) -> dict[str, Update]:
    """`function` of every layer's entry."""
    return {client: Update({layer: function(update[layer]) for layer in update}) for client, update in updates.items()}


# Numbers of public packages on the closed-form input


@pytest.mark.parametrize(
    ("method", "options", "numbers"),
    [
        ("stacking", {}, (4.446290, 5.364480, -0.281684, 0.482648)),
        ("survivors_mean", {}, (4.446290, 5.364480, -0.281684, 0.482648)),
        ("ties", {}, (5.365591, 6.466509, 0, 1.515627)),
        ("ties", {"density": 0.5}, (6.075695, 4.971296, 0, 1.515627)),
        ("ties", {"density": 0.5, "trim": "model", "kept": "inclusive"}, (6.102016, 5.113694, -0.627328, 1.515627)),
        ("magnitude", {"density": 0.5, "average": "sum"}, (11.473736, 17.113483, 0, 1.515627)),
        ("breadcrumbs", {"density": 0.5, "average": "sum"}, (11.473736, 17.113483, 0, 1.515627)),
        ("breadcrumbs", {"density": 0.5, "gamma": 0.1, "average": "sum"}, (10.183760, 10.738403, -0.627328, 0)),
        ("model_stock", {}, (3.839285, 4.632124, -0.243228, 0.416757)),
        ("emr", {}, (6.729475, 5.749536, -0.627328, 1.515627)),
        # published at 0.3 of the sum
        ("consensus", {"tall_lambda": 0.6, "average": "sum"}, (1.766070 / 0.3, 1.940396 / 0.3, 0, 0)),
    ],
)
def test_the_closed_form_numbers_of_public_packages(method, options, numbers):
    found = closed_form.merged(method, **options)
    assert [float(found.norm()), float(found.sum()), float(found[0, 0]), float(found[5, 7])] == pytest.approx(
        numbers, abs=5e-6
    )


def test_weighted_ties_has_the_numbers_of_peft_and_of_mergekit():
    """Their weights 1, 2, 1/2 sum to 3.5 over three clients; ours are K · share."""
    composer = Composer(closed_form.clients(), {"client0": 1, "client1": 2, "client2": 0.5})
    peft, mergekit = (
        composer.merge({"merge": {"method": "ties", "density": 0.5, "weights": weights}, "scale": scale}).dense(LAYER)
        for weights, scale in (("samples_after_election", 3.5 / 3), ("samples", 1.0))
    )
    assert_numbers(peft, 8.187351, 2.271773, 0, 3.031254)
    assert_numbers(mergekit, 6.108309, 4.961490, 0, 1.515627)


def test_slerp_of_two_has_the_closed_form_numbers():
    assert_numbers(closed_form.merged("slerp", closed_form.clients(2)), 5.042059, 8.284404, -0.122677, 0.885748)


# Worked by hand


def test_survivors_are_averaged_over_those_that_hold_the_entry():
    rows = [4.0, 5.0, 2.0, 0.0], [0.0, 0.0, 4.0, 0.0], [2.0, 0.0, 0.0, 0.0]
    assert row_of("survivors_mean", *rows) == [3.0, 5.0, 3.0, 0.0]
    assert row_of("survivors_mean", *rows, min_votes=2) == [3.0, 0.0, 3.0, 0.0]
    assert row_of("survivors_mean", *rows, min_votes=3) == [0.0] * 4
    art, cartoon, photo = (COUNTS[client] for client in ("art", "cartoon", "photo"))
    weighted = [(4 * art + 2 * photo) / (art + photo), 5.0, (2 * art + 4 * cartoon) / (art + cartoon), 0.0]
    assert row_of("survivors_mean", *rows, weights="samples") == pytest.approx(weighted)


def test_the_election_takes_the_mean_the_sum_or_the_largest_of_those_that_agree():
    rows = [3.0, -1.0, 2.0, 1.0, 0.0], [-1.0, -2.0, -2.0, -1.0, 0.0], [-1.0, 1.0, 1.0, 0.0, 0.0]
    assert row_of("ties", *rows, density=1.0) == [3.0, -1.5, 1.5, 1.0, 0.0]
    assert row_of("ties", *rows, density=1.0, average="sum") == [3.0, -3.0, 3.0, 1.0, 0.0]
    assert row_of("emr", *rows) == [3.0, -2.0, 2.0, 1.0, 0.0]
    assert row_of("ties", *rows, density=1.0, elect="frequency") == [-1.0, -1.5, 1.5, 1.0, 0.0]


def test_an_entry_whose_sum_is_zero_takes_the_sign_of_most_entries_on_demand():
    rows = [1.0, -2.0, -3.0, -4.0], [-1.0, -2.0, -3.0, -4.0]
    authors = {"density": 1.0, "trim": "model", "kept": "inclusive"}
    assert row_of("ties", *rows, **authors) == [1.0, -2.0, -3.0, -4.0]  # as peft and mergekit
    assert row_of("ties", *rows, **authors, elect="majority") == [-1.0, -2.0, -3.0, -4.0]
    flipped = [[-value for value in row] for row in rows]
    assert row_of("ties", *flipped, **authors, elect="majority") == [1.0, 2.0, 3.0, 4.0]


def test_the_majority_is_that_of_all_layers():
    layers = {"a": ([1.0, 2.0, 2.0], [-1.0, 2.0, 2.0]), "b": ([-1.0, -2.0, -3.0], [-2.0, -2.0, -3.0])}
    updates = {
        client: Update({layer: torch.tensor([rows[k]], dtype=torch.float64) for layer, rows in layers.items()})
        for k, client in enumerate(("art", "photo"))
    }
    for trim in ("layer", "model"):  # + has two entries of layer a alone, − three of layer b besides
        merged = merge("ties", updates, density=1.0, trim=trim, elect="majority")
        assert merged.dense("a").tolist() == [[-1.0, 2.0, 2.0]]


def ties_of_the_authors(clients, density, average):
    """TIES as its authors' code does it, entry by entry; `clients`: lists of numbers of one flat model."""
    n_kept = floor_share(density, len(clients[0]))
    trimmed = []
    for client in clients:
        ranked = sorted(map(abs, client))
        threshold = ranked[len(client) - n_kept - 1] if n_kept < len(client) else 0
        trimmed.append([value if abs(value) >= threshold else 0.0 for value in client])
    sums = [sum(values) for values in zip(*trimmed, strict=True)]
    more = sum((total > 0) - (total < 0) for total in sums)
    majority = (more > 0) - (more < 0)
    merged = []
    for total, values in zip(sums, zip(*trimmed, strict=True), strict=True):
        sign = (total > 0) - (total < 0) or majority
        agree = [value for value in values if (value > 0 if sign > 0 else value < 0)]
        largest_ = sign * max(map(abs, agree), default=0.0)
        merged.append({"sum": sum(agree), "mean": sum(agree) / max(1, len(agree)), "max": largest_}[average])
    return merged


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.integers(-3, 3).map(float), min_size=8, max_size=8), min_size=n, max_size=n)
    ),
    st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]),
    st.sampled_from(["mean", "sum", "max"]),
)
@settings(max_examples=300, deadline=None)
def test_with_ties_and_zero_sums_it_is_the_authors_code(clients, density, average):
    """Small integers: most magnitudes are equal to others, and many sums are exactly zero."""
    updates = {
        f"client{k}": Update({"a": torch.tensor([values[:5]]).double(), "b": torch.tensor([values[5:]]).double()})
        for k, values in enumerate(clients)
    }
    found = merge("ties", updates, density=density, average=average, trim="model", kept="inclusive", elect="majority")
    want = ties_of_the_authors(clients, density, average)
    assert [*found.dense("a")[0].tolist(), *found.dense("b")[0].tolist()] == pytest.approx(want)


@pytest.mark.parametrize("trim", ["layer", "model"])
def test_inclusive_keeps_all_that_are_as_large_as_the_next_one(trim):
    rows = [5.0, 2.0, -2.0, 2.0, 1.0, 0.0, 0.0, 0.0]
    for density, exact, inclusive in ((0.25, 2, 4), (0.125, 1, 4), (0.5, 4, 5)):
        for how, count in (("exact", exact), ("inclusive", inclusive)):
            found = row_of("ties", rows, density=density, trim=trim, kept=how)
            assert sum(value != 0 for value in found) == count


def test_consensus_keeps_what_two_clients_hold_against_the_rest():
    rows = [2.0, 1.0, 1.0], [2.0, -1.0, 1.0], [-1.0, 1.5, 1.0]
    assert row_of("consensus", *rows, tall_lambda=1.0) == [1.0, 0.5, 0.0]
    assert row_of("consensus", *rows, tall_lambda=1.0, min_agreement=3) == [0.0] * 3
    assert row_of("consensus", *rows, tall_lambda=0.0, min_agreement=3, average="sum") == [3.0, 1.5, 3.0]


def test_sce_weighs_clients_by_the_energy_of_what_it_selects():
    assert row_of("sce", [3.0, 1.0, 0.0], [1.0, -1.0, 2.0]) == pytest.approx([(10 * 3 + 6 * 1) / 16, 1.0, 2.0])
    # two entries vary; half of them, the first, is selected
    assert row_of("sce", [4.0, 1.0, 0.0], [1.0, -1.0, 0.0], select_topk=0.5) == pytest.approx([65 / 17, 0.0, 0.0])


def test_breadcrumbs_loses_the_largest_entries_and_then_the_smallest():
    row = [(-1.0) ** i * i for i in range(1, 11)]
    keep = row_of("breadcrumbs", row, density=0.5, gamma=0.2)
    assert keep == [value if 4 <= abs(value) <= 8 else 0.0 for value in row]
    assert row_of("breadcrumbs", row, density=0.9, gamma=0.2) == [*row[:9], 0.0]  # the density goes first
    assert row_of("breadcrumbs", row, density=1.0, gamma=0.2) == row
    assert row_of("magnitude", row, density=0.3) == [0.0] * 7 + row[7:]


# Trimming and random masks


def test_trimming_keeps_the_exact_number_also_among_equal_entries():
    rng = torch.Generator().manual_seed(0)
    smooth, ties = torch.randn(20, 30, generator=rng), torch.randint(-3, 4, (20, 30), generator=rng).float()
    for delta in (smooth, ties, ties.double()):
        for n_kept in (0, 1, 77, 300, 599, 600):
            keep = kept(delta.abs(), find_cut([delta.abs()], delta.numel() - n_kept))
            assert torch.equal(largest(delta, n_kept), delta * keep)
    assert int((largest(smooth, 77) != 0).sum()) == 77


def test_a_layer_larger_than_the_cache_merges_as_one_formula():
    deltas = torch.randn(3, 700, 500, generator=torch.Generator().manual_seed(1))
    sign = torch.where(deltas.sum(0) >= 0, 1, -1)
    agree = deltas.sign() == sign
    want = (deltas * agree).sum(0) / agree.sum(0).clamp(min=1)
    torch.testing.assert_close(by_sign(iter(deltas)), want, rtol=1e-5, atol=1e-6)


def test_random_masks_keep_everything_or_nearly_nothing_at_their_ends():
    rng, like = torch.Generator().manual_seed(3), torch.empty(101, 103)
    assert keep_mask(rng, like, LEVELS).all()
    assert keep_mask(rng, like, 1).double().mean() < 0.001
    assert keep_mask(rng, like, LEVELS // 2).double().mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("method", ["dare", "della_linear"])
def test_a_client_loses_the_same_entries_whoever_else_is_there(method):
    updates = make_clients()
    alone = [merge(method, {client: update}, average="sum") for client, update in updates.items()]
    total = alone[0] + alone[1] + alone[2] + alone[3]
    assert_close(merge(method, updates, average="sum"), total)
    masks = [update.dense("visual.a") != 0 for update in alone]
    assert not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize("method", ["dare", "dare_ties", "della", "della_linear"])
def test_another_draw_is_another_mask(method):
    one, again, other = (merge(method, make_clients(), draw=draw).dense("visual.a") for draw in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_dare_rescales_by_the_inverse_to_the_norm_or_not():
    updates = {"art": make_client(1)}
    delta = updates["art"].dense("visual.a")
    raw, inverse, l1 = (
        merge("dare", updates, drop=0.75, rescale=r).dense("visual.a") for r in ("none", "inverse", "l1")
    )
    assert set((raw / delta).round(decimals=5).unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(inverse, raw * 4)
    torch.testing.assert_close(l1.abs().sum(), delta.abs().sum())
    torch.testing.assert_close(l1 / l1.norm(), raw / raw.norm())


def test_della_divides_each_entry_by_its_own_keep_probability():
    delta = torch.tensor([[1.0, -4.0, 2.0, -3.0]] * 200)
    found = merge("della", {"art": Update({LAYER: delta})}, density=0.6, epsilon=0.3).dense(LAYER)
    probability = torch.tensor([0.3, 0.9, 0.5, 0.7])  # by rank: 1, 2, 3, 4
    for column in range(4):
        values = found[:, column][found[:, column] != 0]
        torch.testing.assert_close(
            values, (delta[0, column] / probability[column]).expand_as(values), rtol=1e-4, atol=0
        )
        assert len(values) / 200 == pytest.approx(float(probability[column]), abs=0.12)


def test_della_of_a_single_column_drops_at_random():
    delta = torch.ones(500, 1)
    found = merge("della", {"art": Update({LAYER: delta})}, density=0.6).dense(LAYER)
    assert (found != 0).double().mean() == pytest.approx(0.6, abs=0.08)


def test_without_dropping_the_random_methods_are_the_plain_ones():
    updates = make_clients()
    assert_close(merge("dare", updates, drop=0.0), merge("mean", updates))
    assert_close(merge("della_linear", updates, density=1.0), merge("mean", updates))
    for method, options in (("dare_ties", {"drop": 0.0}), ("della", {"density": 1.0})):
        assert_close(merge(method, updates, **options), merge("ties", updates, density=1.0))


# Averages and the sphere


def test_stacking_takes_any_ranks_and_is_always_factors():
    updates = {"art": make_client(1, rank=2), "photo": make_client(2, rank=3)}
    assert merge("stacking", updates)["visual.a"].A.shape == (5, 16)
    seven = make_clients(7)
    assert merge("stacking", seven)["visual.a"].B.shape == (24, 21)
    assert isinstance(merge("mean", seven)["visual.a"], torch.Tensor)  # 21 (24 + 16) numbers are more than 24 · 16
    assert_close(merge("stacking", seven), merge("mean", seven), 1e-5)
    assert_close(merge("stacking", seven, weights="samples"), merge("weighted_mean", seven), 1e-5)


def test_wise_ft_goes_from_zero_shot_to_the_mean():
    updates = make_clients()
    mean = merge("mean", updates)
    assert_close(merge("wise_ft", updates, alpha=0.3), mean.scaled(0.3))
    assert_close(merge("wise_ft", updates, alpha=1.0), mean)
    assert merge("wise_ft", updates, alpha=0.0).norm() == 0


def test_slerp_ends_at_its_clients_and_keeps_their_length():
    """t counts from the first name, in whatever order the clients come."""
    art, photo = make_client(1), make_client(2)
    updates = {"photo": photo, "art": art}
    assert_close(merge("slerp", updates, t=0.0), art)
    assert_close(merge("slerp", updates, t=1.0), photo)
    same_length = {
        "art": art,
        "photo": photo.scaled({layer: art.norms()[layer] / photo.norms()[layer] for layer in art}),
    }
    found = merge("slerp", same_length, t=0.3)
    assert found.norms() == pytest.approx(art.norms(), rel=1e-5)
    assert found.inners(art)["visual.a"] > found.inners(photo)["visual.a"]


def test_nuslerp_by_samples_is_slerp_at_the_share_of_the_second_client():
    updates = make_clients(2)
    share = COUNTS["cartoon"] / (COUNTS["art"] + COUNTS["cartoon"])
    assert_close(merge("nuslerp", updates, weights="samples"), merge("slerp", updates, t=share))
    reverse = dict(reversed(updates.items()))
    assert_close(merge("nuslerp", reverse, weights="samples"), merge("slerp", updates, t=share))


def test_nuslerp_by_row_or_column_is_slerp_of_each():
    updates = {client: Update({"visual.a": update["visual.a"]}) for client, update in make_clients(2).items()}
    by_row, by_column = (merge("nuslerp", updates, unit=unit).dense("visual.a") for unit in ("row", "column"))
    for i in (0, 7):
        row = mapped(dense(updates), lambda delta, i=i: delta[i : i + 1])
        column = mapped(dense(updates), lambda delta, i=i: delta[:, i : i + 1])
        torch.testing.assert_close(merge("nuslerp", row).dense("visual.a")[0], by_row[i])
        torch.testing.assert_close(merge("nuslerp", column).dense("visual.a")[:, 0], by_column[:, i])


def test_model_stock_of_orthogonal_clients_is_zero_shot_and_of_opposed_ones_too():
    assert row_of("model_stock", [1.0, 0.0], [0.0, 3.0]) == [0.0, 0.0]
    assert row_of("model_stock", [1.0, 0.0], [-1.0, 0.0]) == [0.0, 0.0]  # 1 + (K − 1) c = 0
    # c = 1/2: t = 2/3 of the mean
    assert row_of("model_stock", [2.0, 0.0], [1.0, 3.0**0.5]) == pytest.approx([1.0, 3.0**0.5 / 3])


def test_model_stock_by_row_is_model_stock_of_each_row():
    updates = {client: Update({"visual.a": update["visual.a"]}) for client, update in make_clients().items()}
    for average in ("cosines", "angles"):
        found = merge("model_stock", updates, unit="row", average=average).dense("visual.a")
        row = mapped(dense(updates), lambda delta: delta[5:6])
        torch.testing.assert_close(merge("model_stock", row, average=average).dense("visual.a")[0], found[5])


def test_the_karcher_mean_is_where_the_pulls_of_all_clients_cancel():
    updates = dense({client: update.to(torch.float64) for client, update in make_clients().items()})
    flat = torch.stack([update.dense("visual.a").flatten() for update in updates.values()])
    units, length = flat / flat.norm(dim=1, keepdim=True), flat.norm(dim=1).mean()
    found = merge("karcher", updates, iterations=100, tolerance=1e-12).dense("visual.a").flatten()
    mean = found / found.norm()
    angles = (units @ mean).acos()
    pulls = (units - (units @ mean)[:, None] * mean) * (angles / angles.sin())[:, None]
    assert found.norm() == pytest.approx(length)
    assert pulls.sum(0).norm() < 1e-9
    assert (merge("multislerp", updates).dense("visual.a").flatten() - found).norm() > 1e-3 * length


def test_means_of_two_equally_long_clients_on_the_sphere_are_slerps_midpoint():
    art, photo = make_client(1), make_client(2)
    photo = photo.scaled({layer: art.norms()[layer] / photo.norms()[layer] for layer in art})
    midpoint = merge("slerp", {"art": art, "photo": photo})
    for method in ("multislerp", "karcher", "nuslerp"):
        assert_close(merge(method, {"art": art, "photo": photo}), midpoint, 1e-5)


def test_multislerp_by_samples_follows_the_larger_client():
    art, cartoon = [1.0, 0.0], [0.0, 1.0]
    weights = torch.tensor([COUNTS["art"], COUNTS["cartoon"]], dtype=torch.float64)
    assert row_of("multislerp", art, cartoon, weights="samples") == pytest.approx((weights / weights.norm()).tolist())


@pytest.mark.parametrize("method", ["multislerp", "karcher"])
def test_opposed_directions_have_no_mean(method):
    assert row_of(method, [1.0, 2.0], [-1.0, -2.0]) == [0.0, 0.0]


@pytest.mark.parametrize("method", ["model_stock", "sce"])
def test_a_rule_does_not_change_where_updates_are_tiny(method):
    """mergekit's floors of 1e-6 would."""
    updates = make_clients()
    tiny = merge(method, {client: update.scaled(1e-6) for client, update in updates.items()})
    assert_close(tiny, merge(method, updates).scaled(1e-6), 1e-5)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("wise_ft", {}),
        ("slerp", {}),
        ("nuslerp", {"unit": "row"}),
        ("nuslerp", {"unit": "column"}),
        ("multislerp", {}),
        ("karcher", {}),
        ("model_stock", {}),
        ("model_stock", {"unit": "row"}),
    ],
)
def test_combinations_of_factors_stay_factors(method, options):
    assert isinstance(merge(method, make_clients(2), **options)["visual.a"], Factors)


# Equivariance


@pytest.mark.parametrize("method", ON_SPHERE)
def test_a_rotation_of_inputs_and_outputs_rotates_the_mean(method):
    updates = {client: update.to(torch.float64) for client, update in make_clients(ON_SPHERE[method]).items()}
    rng = torch.Generator().manual_seed(8)
    P, Q = (
        {n: torch.linalg.qr(torch.randn(n, n, generator=rng, dtype=torch.float64))[0] for n in (16, 24, 28)}
        for _ in "PQ"
    )

    def rotated(factors: Factors) -> Factors:
        return Factors(factors.A @ Q[factors.A.shape[1]].T, P[factors.B.shape[0]] @ factors.B)

    merged = merge(method, updates)
    want = Update({layer: P[m] @ merged.dense(layer) @ Q[n].T for layer, (m, n) in SHAPES.items()})
    assert_close(merge(method, mapped(updates, rotated)), want, 1e-9)


@pytest.mark.parametrize("method", BY_ENTRY)
def test_reordered_entries_and_turned_signs_do_the_same_to_the_result(method):
    updates = dense(make_clients())
    rng = torch.Generator().manual_seed(9)
    rows, columns = ({n: torch.randperm(n, generator=rng) for n in (16, 24, 28)} for _ in range(2))
    signs = {n: torch.randint(0, 2, (n,), generator=rng) * 2.0 - 1 for n in (16, 28)}

    def moved(delta):
        return (delta * signs[delta.shape[1]])[rows[delta.shape[0]]][:, columns[delta.shape[1]]]

    merged = merge(method, updates, **BY_ENTRY[method])
    want = Update({layer: moved(merged.dense(layer)) for layer in merged})
    assert_close(merge(method, mapped(updates, moved), **BY_ENTRY[method]), want, 1e-5)


# TIES on factors


def test_ties_on_factors_merges_a_and_b_on_their_own():
    updates = make_clients()
    found = merge("ties_factors", updates, density=0.4)["visual.a"]
    for side, part in (("A", found.A), ("B", found.B)):
        alone = {client: Update({LAYER: getattr(update["visual.a"], side)}) for client, update in updates.items()}
        torch.testing.assert_close(part, merge("ties", alone, density=0.4).dense(LAYER))
    one = make_client(5)
    assert_close(merge("ties_factors", dict.fromkeys(updates, one), density=1.0), one)


def test_ties_on_factors_needs_equal_ranks():
    with pytest.raises(SapError, match=r"merge\.ties_factors: layer visual\.a needs equal ranks"):
        merge("ties_factors", {"art": make_client(1, rank=2), "photo": make_client(2)})


# Cohorts and options that are not valid


@pytest.mark.parametrize(
    ("method", "options", "n", "message"),
    [
        ("slerp", {}, 3, "needs exactly 2 clients, got 3. Use `karcher` or `multislerp`"),
        ("nuslerp", {}, 1, "needs exactly 2 clients, got 1"),
        ("consensus", {"min_agreement": 5}, 4, "min_agreement is 5, but there are 4 clients. Choose at most 4"),
        ("survivors_mean", {"min_votes": 3}, 2, "min_votes is 3, but there are 2 clients. Choose at most 2"),
        ("della", {"density": 0.9, "epsilon": 0.15}, 4, "density ± epsilon must lie between 0 and 1, got 0.9 ± 0.15"),
        ("della_linear", {"density": 0.1}, 4, "density ± epsilon must lie between 0 and 1, got 0.1 ± 0.15"),
    ],
)
def test_what_is_not_valid_is_refused_with_a_reason(method, options, n, message):
    with pytest.raises(SapError, match=rf"merge\.{method}: .*{message}"):
        merge(method, make_clients(n), **options)


@pytest.mark.parametrize("method", ["model_stock", "karcher", "multislerp", "ties_factors"])
def test_a_single_client_is_itself(method):
    one = {"art": make_client(3)}
    options = {"density": 1.0} if method == "ties_factors" else {}
    assert_close(merge(method, one, **options), one["art"], 1e-5)
