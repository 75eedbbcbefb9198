"""Robust rules: hand-worked cases, what one malicious client can do, and what is refused."""

from itertools import combinations

import pytest
import torch

from sap.config import parse
from sap.errors import SapError
from sap.merge import _robust, dnc, mda
from sap.merge._api import METHODS
from sap.update import Update, stacks
from tests.merge.cohort import SHAPES, assert_close, extras_of, make_client, make_clients, merge

ROTATABLE = {
    "krum": {},
    "multi_krum": {"neighbours": "byzfl"},
    "geometric_median": {},
    "norm_clipping": {},
    "centred_clipping": {},
    "arc": {},
    "mda": {},
    "dnc": {},
    "nearest_neighbour_mixing": {"inner": "mean"},
    "monna": {},
}
# the rules that average or order clients, so that every entry of the result lies between honest entries
INSIDE = {
    "krum": {},
    "multi_krum": {"f": 1, "m": 5},
    "median": {},
    "trimmed_mean": {"f": 1},
    "mean_around_median": {"f": 1},
    "bulyan": {"f": 1},
    "mda": {"f": 1},
    "dnc": {"f": 1},
    "nearest_neighbour_mixing": {"f": 1},
    "monna": {"f": 1},
}
# the rules that bound a malicious client's pull, to a share of a client's norm
BOUNDED = {"geometric_median": {}, "norm_clipping": {}, "centred_clipping": {}, "arc": {"f": 1}, "fltrust": {}}


def points(*values) -> dict[str, Update]:
    """Clients with one weight each, in one layer."""
    return {f"c{k}": Update({"w": torch.tensor([[float(value)]])}) for k, value in enumerate(values)}


def value(name, updates, **options) -> float:
    return float(merge(name, updates, **options).dense("w"))


def flat(updates) -> torch.Tensor:
    """Whole models as rows, (K, d) float64."""
    return torch.stack([torch.cat([u.dense(layer).flatten() for layer in u]) for u in updates.values()]).double()


def with_root(name, updates, root, **options) -> Update:
    method = METHODS[name]
    return method.merge(stacks(updates, None, {"root": root.__getitem__}), parse(method.options, options, name))


def cohort_with_an_attacker(scale=1e6) -> tuple[dict[str, Update], dict[str, Update]]:
    """Six similar clients, and the same with a seventh far from all of them."""
    base = make_client(50)
    honest = {f"honest{k}": base + make_client(k, scale=0.3) for k in range(6)}
    return honest, honest | {"attacker": make_client(60, scale=scale)}


@pytest.mark.parametrize("name", INSIDE)
def test_one_far_client_moves_no_entry_beyond_the_honest_ones(name):
    honest, attacked = cohort_with_an_attacker()
    merged = merge(name, attacked, **INSIDE[name])
    for layer in SHAPES:
        entries = torch.stack([update.dense(layer) for update in honest.values()])
        slack = 1e-5 * entries.abs().max()
        assert (merged.dense(layer) <= entries.amax(0) + slack).all()
        assert (merged.dense(layer) >= entries.amin(0) - slack).all()


@pytest.mark.parametrize("name", BOUNDED)
def test_one_far_client_moves_the_result_by_less_than_one_honest_norm(name):
    honest, attacked = cohort_with_an_attacker()
    mean = merge("mean", honest)
    norm = max(update.norm() for update in honest.values())
    roots = {layer: mean.dense(layer) for layer in mean}

    def moved(rule, **options):
        return (with_root(rule, attacked, roots, **options) + mean.scaled(-1.0)).norm()

    assert moved(name, **BOUNDED[name]) < norm
    assert moved("mean") > 1e4 * norm


def test_krum_by_hand():
    """Squared distances to the two nearest others sum to 7.25, 3.25, 6.25, 16.25, 86.5; to three, 2.5 has the least."""
    updates = points(0, 1, 2.5, 4.5, 10)
    assert value("krum", updates, f=1) == 1.0
    assert value("multi_krum", updates, f=1) == pytest.approx(1.75)  # m = n - f - 2 = 2
    assert value("krum", updates, f=1, neighbours="byzfl") == 2.5
    assert value("multi_krum", updates, f=1, neighbours="byzfl") == pytest.approx(2.0)  # m = n - f = 4


def test_ties_of_krum_go_to_the_next_nearest_client_and_then_to_the_name():
    assert value("krum", points(0, 1, 3)) == 1.0  # 0 and 1 are each other's neighbour, 1 is closer to 3
    mirrored = points(10, 0, 1, 11)  # 1 and 10 have the same distances: c0 comes before c2
    assert value("krum", mirrored, f=1, neighbours="flower") == 10.0
    assert value("krum", dict(reversed(mirrored.items())), f=1, neighbours="flower") == 10.0


def test_coordinate_rules_by_hand():
    updates = points(5, -1, 0, 2, 100)
    assert value("median", updates) == 2.0
    assert value("trimmed_mean", updates, f=1) == pytest.approx((0 + 2 + 5) / 3)
    assert value("mean_around_median", updates, f=1) == pytest.approx((-1 + 0 + 2 + 5) / 4)
    even = points(1, 4, 2, 30)
    assert value("median", even) == 3.0
    assert value("median", even, even="lower") == 2.0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 16, 30])
def test_order_statistics_agree_with_sorting(n):
    rng = torch.Generator().manual_seed(n)
    values = torch.randint(-9, 9, (n, 40), generator=rng) + 0.01 * torch.randn(n, 40, generator=rng).double()
    ordered = values.sort(0).values
    assert torch.equal(_robust.entrywise_median(values.clone()), (ordered[(n - 1) // 2] + ordered[n // 2]) / 2)
    assert torch.equal(_robust.entrywise_median(values.clone(), "lower"), ordered[(n - 1) // 2])
    for f in range((n + 1) // 2):
        torch.testing.assert_close(_robust.entrywise_trimmed_mean(values.clone(), f), ordered[f : n - f].mean(0))
    for count in range(1, n + 1):
        nearest = (values - values.quantile(0.5, dim=0)).abs().argsort(0)[:count]
        if n % 2 == 0 and count == 1:
            continue  # the two middle values are equally near
        found = _robust.entrywise_mean_around_median(values.clone(), count)
        torch.testing.assert_close(found, values.gather(0, nearest).mean(0))


@pytest.mark.parametrize("n", [3, 4, 7])
def test_the_trimmed_mean_reaches_from_the_mean_to_the_median(n):
    updates = make_clients(n)
    assert_close(merge("trimmed_mean", updates, f=0), merge("mean", updates), 1e-5)
    assert_close(merge("trimmed_mean", updates), merge("median", updates), 1e-5)


def test_chunks_of_rows_do_not_show():
    rng = torch.Generator().manual_seed(0)
    updates = {f"c{k}": Update({"w": torch.randn(300, 700, generator=rng)}) for k in range(3)}  # four chunks
    want = torch.stack([update.dense("w") for update in updates.values()]).median(0).values
    assert torch.equal(merge("median", updates).dense("w"), want)
    rows = flat(updates)
    torch.testing.assert_close(_robust.gram(stacks(updates)), rows @ rows.T)


def test_geometric_median_by_hand():
    assert value("geometric_median", points(0, 1, 10)) == pytest.approx(1.0, abs=1e-4)  # on a line: the median
    assert value("geometric_median", points(1, 2), steps=1) == pytest.approx(4 / 3)  # weights 1 and 1/2
    assert value("geometric_median", points(1, 2), steps=1, nu=5.0) == pytest.approx(1.5)  # all closer than nu
    corner = {"c0": [[0.0, 0.0]], "c1": [[2.0, 0.0]], "c2": [[1.0, 3**0.5]]}
    triangle = {client: Update({"w": torch.tensor(at)}) for client, at in corner.items()}
    found = merge("geometric_median", triangle).dense("w")
    torch.testing.assert_close(found, torch.tensor([[1.0, 3**-0.5]]))


def test_a_client_with_most_samples_is_the_weighted_geometric_median():
    method, updates = METHODS["geometric_median"], points(0, 1, 10)
    made = stacks(updates, {"c0": 1, "c1": 1, "c2": 3})
    found = method.merge(made, method.options(weights="samples")).dense("w")
    assert float(found) == pytest.approx(10.0, abs=1e-4)


def test_clipping_by_hand():
    updates = points(1, 2, 10)
    assert value("norm_clipping", updates) == pytest.approx(5 / 3)  # at the median norm 2
    assert value("norm_clipping", updates, clip=0.5) == pytest.approx(0.5)
    assert value("centred_clipping", updates, steps=1) == pytest.approx(5 / 3)
    assert value("centred_clipping", updates, steps=2) == pytest.approx(5 / 3 + (-2 / 3 + 1 / 3 + 2) / 3)
    assert value("arc", updates, f=1) == pytest.approx(5 / 3)  # ⌊2/3 · 2⌋ = 1 norm is shortened to the next
    assert value("arc", updates, f=0) == pytest.approx(13 / 3)


def test_mixing_by_hand():
    updates = points(0, 1, 10)  # mixed: 0.5, 0.5, 5.5
    assert value("nearest_neighbour_mixing", updates) == 0.5
    assert value("nearest_neighbour_mixing", updates, inner="median") == 0.5
    assert value("nearest_neighbour_mixing", updates, inner="mean") == pytest.approx(6.5 / 3)
    assert value("monna", updates) == 0.5
    assert value("monna", updates, pivot="c2") == 5.5
    with pytest.raises(SapError, match="the pivot 'photo' is not among the clients c0, c1, c2"):
        merge("monna", updates, pivot="photo")


@pytest.mark.parametrize("n", [3, 6, 9])
def test_mda_finds_the_tightest_subset(n):
    rng = torch.Generator().manual_seed(n)
    at = torch.randn(n, 2, generator=rng, dtype=torch.float64).round(decimals=1)  # coarse: several diameters are equal
    names = [f"c{k}" for k in torch.randperm(n, generator=rng).tolist()]
    distances = _robust.squared_distances(at @ at.T)

    def width(chosen):
        inside = distances[list(chosen)][:, list(chosen)]
        return round(float(inside.max()), 9), round(float(inside.sum()), 9)

    for f in range((n + 1) // 2):
        found = mda.tightest(distances, n - f, names)
        assert len(found) == n - f
        assert width(found) == min(width(chosen) for chosen in combinations(range(n), n - f))


def test_mda_among_equally_tight_subsets_does_not_see_the_order():
    updates = points(0, 1, 2, 3)  # {0, 1, 2} and {1, 2, 3} are mirror images
    assert value("mda", updates) == value("mda", dict(reversed(updates.items()))) == 1.0


def test_bulyan_agrees_with_its_definition():
    n, f, rng = 11, 2, torch.Generator().manual_seed(1)
    at = torch.randn(n, 5, generator=rng, dtype=torch.float64)
    updates = {f"c{k:02}": Update({"w": row[None]}) for k, row in enumerate(at)}
    left, chosen = list(range(n)), []
    while len(chosen) < n - 2 * f:
        others = {k: sorted(float((at[k] - at[j]).square().sum()) for j in left if j != k) for k in left}
        count = len(left) - f - 2
        chosen.append(min(left, key=lambda k: (sum(others[k][:count]), *others[k][count:])))
        left.remove(chosen[-1])
    selected = at[chosen]
    nearest = (selected - selected.median(0).values).abs().argsort(0)[: n - 4 * f]
    want = selected.gather(0, nearest).mean(0)
    torch.testing.assert_close(merge("bulyan", updates).dense("w")[0], want)


def test_dnc_drops_the_client_that_stands_out_along_the_top_direction():
    honest, attacked = cohort_with_an_attacker(scale=3.0)
    assert_close(merge("dnc", attacked, f=1), merge("mean", honest), 1e-5)
    rows = flat(attacked)
    centred = rows - rows.mean(0)
    scores = (centred @ torch.linalg.svd(centred, full_matrices=False).Vh[0]) ** 2
    found = dnc.kept(_robust.gram(stacks(attacked)), 4, list(attacked))
    assert found == sorted(scores.argsort()[:4].tolist())


def test_dnc_on_sampled_coordinates_sees_the_entries_themselves():
    updates = make_clients(5)
    total = sum(m * n for m, n in SHAPES.values())
    assert_close(merge("dnc", updates, coordinates=total + 7, iterations=2), merge("dnc", updates), 1e-6)
    dense = {client: Update({layer: update.dense(layer) for layer in update}) for client, update in updates.items()}
    options = parse(METHODS["dnc"].options, {"coordinates": 40, "iterations": 3}, "dnc")
    found = [dnc.sampled_grams(stacks(which, None, extras_of(which, {"rng"})), options) for which in (updates, dense)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[0][0], found[0][1])
    backwards = dict(reversed(updates.items()))
    again = dnc.sampled_grams(stacks(backwards, None, extras_of(backwards, {"rng"})), options)
    torch.testing.assert_close([gram.flip(0, 1) for gram in again], found[0])


def test_dnc_keeps_who_is_kept_in_every_iteration():
    updates = make_clients(7)
    options = parse(METHODS["dnc"].options, {"coordinates": 30, "iterations": 4, "f": 1}, "dnc")
    grams = dnc.sampled_grams(stacks(updates, None, extras_of(updates, {"rng"})), options)
    rounds = [set(dnc.kept(gram, 6, list(updates))) for gram in grams]
    common = set.intersection(*rounds)
    assert len(common) < 6
    left = {client: updates[client] for k, client in enumerate(updates) if k in common}
    assert_close(merge("dnc", updates, coordinates=30, iterations=4, f=1), merge("mean", left), 1e-5)
    with pytest.raises(SapError, match="no client was kept in all 40 iterations"):
        merge("dnc", updates, coordinates=3, iterations=40, f=3)


def two_weights(**clients) -> dict[str, Update]:
    """Clients with one weight in each of two layers."""
    return {
        name: Update({layer: torch.tensor([[float(weight)]]) for layer, weight in zip("ab", weights, strict=True)})
        for name, weights in clients.items()
    }


@pytest.mark.parametrize(
    ("options", "want"),
    [
        # cosines with (1, 1): 7/(5√2), 1/(5√2), negative; all norms 5
        ({}, (3.125, 3.125)),
        ({"norm": "root"}, (0.625 * 2**0.5, 0.625 * 2**0.5)),
        ({"unit": "layer"}, (4, 3)),  # layer norms 3, 4, 5 and 4, 3, 0
        ({"unit": "layer", "norm": "root"}, (1, 1)),
        ({"unit": "weight"}, (3.5, 4)),  # 3 and 4 agree in a, 4 in b
        ({"unit": "weight", "norm": "root"}, (3.5 * 2**0.5 / 5, 4 * 2**0.5 / 5)),
    ],
)
def test_the_ladder_of_trust_by_hand(options, want):
    updates = two_weights(with_root=(3, 4), half=(4, -3), against=(-5, 0))
    root = {"a": torch.ones(1, 1), "b": torch.ones(1, 1)}
    merged = with_root("fltrust", updates, root, **options)
    assert [float(merged.dense(layer)) for layer in "ab"] == pytest.approx(want)


@pytest.mark.parametrize("norm", ["clients", "root"])
@pytest.mark.parametrize("unit", ["client", "layer", "weight"])
def test_without_any_trust_the_result_is_zero_shot(unit, norm):
    updates = make_clients()
    everywhere = {layer: torch.stack([u.dense(layer) for u in updates.values()]) for layer in SHAPES}
    if unit == "weight":  # no sign in common with anyone, where all clients agree; elsewhere no root
        roots = {
            layer: -deltas.sign().mean(0) * (deltas.sign().mean(0).abs() == 1) for layer, deltas in everywhere.items()
        }
    else:
        roots = {layer: -sum(delta / delta.norm() for delta in deltas) for layer, deltas in everywhere.items()}
    assert with_root("fltrust", updates, roots, unit=unit, norm=norm).norm() == 0


def test_fltrust_with_the_clients_norm_does_not_see_the_roots_length():
    updates = make_clients()
    roots = {layer: updates["art"].dense(layer) for layer in SHAPES}
    scaled = {layer: 1000 * root for layer, root in roots.items()}
    for unit in ("client", "layer", "weight"):
        found = with_root("fltrust", updates, scaled, unit=unit)
        assert_close(found, with_root("fltrust", updates, roots, unit=unit), 1e-5)


@pytest.mark.parametrize("name", ROTATABLE)
def test_whole_model_rules_turn_with_the_clients(name):
    updates = {client: update.to(torch.float64) for client, update in make_clients(7).items()}
    rng = torch.Generator().manual_seed(3)

    def rotation(size):
        return torch.linalg.qr(torch.randn(size, size, generator=rng, dtype=torch.float64)).Q

    turns = {layer: (rotation(m), rotation(n)) for layer, (m, n) in SHAPES.items()}

    def turned(update):
        return Update({layer: P @ update.dense(layer) @ Q.T for layer, (P, Q) in turns.items()})

    found = merge(name, {client: turned(update) for client, update in updates.items()}, **ROTATABLE[name])
    assert_close(found, turned(merge(name, updates, **ROTATABLE[name])), 1e-8)


def test_selections_keep_factors_and_only_those_of_the_chosen():
    updates = make_clients() | {"art": make_client(0, rank=2)}  # ranks may differ
    rows = flat(updates)
    torch.testing.assert_close(_robust.gram(stacks(updates)), rows @ rows.T, rtol=1e-5, atol=1e-3)
    assert merge("krum", updates)["visual.a"].A.shape == (2, 16)
    assert merge("mda", updates)["visual.a"].A.shape == (2 + 3 + 3, 16)


@pytest.mark.parametrize(
    ("name", "n", "options", "sentence"),
    [
        ("krum", 4, {"f": 1}, "merge.krum: needs n >= 2f+3 clients: n = 4, f = 1 needs 5"),
        ("krum", 2, {}, "merge.krum: needs n >= 2f+3 clients: n = 2, f = 0 needs 3"),
        ("krum", 4, {"f": 2, "neighbours": "byzfl"}, "merge.krum: needs n >= 2f+1 clients: n = 4, f = 2 needs 5"),
        ("krum", 2, {"f": 1, "neighbours": "flower"}, "merge.krum: needs n >= 2f+1 clients: n = 2, f = 1 needs 3"),
        ("multi_krum", 4, {"f": 1}, "merge.multi_krum: needs n >= 2f+3 clients: n = 4, f = 1 needs 5"),
        ("multi_krum", 4, {"m": 5}, "merge.multi_krum: averages m of n clients: n = 4, m = 5"),
        ("bulyan", 4, {}, "merge.bulyan: needs n >= 4f+3 clients: n = 4, f = 1 needs 7"),
        ("dnc", 5, {"f": 2, "c": 2.5}, "merge.dnc: needs n > c*f clients: n = 5, c*f = 5 drops them all"),
        *(
            (name, 4, {"f": 2}, f"merge.{name}: needs n >= 2f+1 clients: n = 4, f = 2 needs 5")
            for name in ("trimmed_mean", "mean_around_median", "mda", "dnc", "arc", "nearest_neighbour_mixing", "monna")
        ),
    ],
)
def test_a_rule_outside_its_validity_is_refused_with_the_numbers(name, n, options, sentence):
    with pytest.raises(SapError) as error:
        merge(name, make_clients(n), **options)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("name", "n", "f"),
    [("krum", 3, 0), ("krum", 5, 1), ("mda", 3, 1), ("mda", 6, 2), ("bulyan", 7, 1), ("arc", 4, 1), ("monna", 7, 3)],
)
def test_null_is_the_largest_valid_f(name, n, f):
    updates = make_clients(n)
    assert_close(merge(name, updates), merge(name, updates, f=f), 1e-9)
    with pytest.raises(SapError, match=f"f = {f + 1} needs"):
        merge(name, updates, f=f + 1)


def test_mda_refuses_what_would_take_too_long():
    check, options = METHODS["mda"].check, METHODS["mda"].options
    assert check(20, options()) is None
    assert "n = 30, f = 14 has 145422675 of them, more than 200000. Set f to at most 5" in check(30, options())
    assert check(30, options(f=5)) is None
