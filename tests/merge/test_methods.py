"""Properties that hold for every registered merge method; exceptions are declared at the registration."""

from dataclasses import replace
from functools import cache
from itertools import combinations

import pytest
import torch

from sap.config import parse
from sap.errors import SapError
from sap.merge._api import METHODS, describe, merge_method
from sap.update import Factors, Update, stacks
from tests.merge.cohort import SHAPES, assert_close, cohort_size, make_client, make_clients, merge

# pairs of methods that agree with their defaults on unequal clients, with the algebraic reason
SAME = {
    frozenset({"mean", "stacking"}): "stacking is the mean, always as factors",
    frozenset({"mean", "survivors_mean"}): "without pruning every client survives everywhere",
    frozenset({"stacking", "survivors_mean"}): "both are the mean",
    frozenset({"slerp", "nuslerp"}): "t = 1/2 is equal weights",
    frozenset({"norm_clipping", "arc"}): "with three of seven malicious, arc's limit is the median norm",
    frozenset({"median", "trimmed_mean"}): "trimming three of seven on both sides leaves the middle one",
}


def variants(name):
    """The defaults, and every choice of every option with the others at their defaults."""
    properties = describe()[name]["options"]["properties"]
    choices = [{key: value} for key, field in properties.items() for value in field.get("enum", ())]
    return [{}, *(choice for choice in choices if properties[next(iter(choice))]["default"] not in choice.values())]


every_method = pytest.mark.parametrize("name", METHODS)
every_variant = pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(name, options, id="-".join([name, *(f"{key}={value}" for key, value in options.items())]))
        for name in METHODS
        for options in variants(name)
    ],
)


def clients_for(name, options):
    """As many unequal clients as the method accepts with these options."""
    return make_clients(cohort_size(name, parse(METHODS[name].options, options, name)))


@every_variant
def test_client_order_does_not_matter(name, options):
    updates = clients_for(name, options)
    assert_close(merge(name, dict(reversed(updates.items())), **options), merge(name, updates, **options), 1e-5)


@every_method
def test_equal_clients_merge_to_that_client(name):
    if not METHODS[name].average:
        pytest.skip("declares average=False")
    one = make_client(5)
    assert_close(merge(name, dict.fromkeys(clients_for(name, {}), one)), one, 1e-5)


@every_variant
def test_zero_updates_merge_to_zero(name, options):
    zero = {client: update.scaled(0.0) for client, update in clients_for(name, options).items()}
    assert merge(name, zero, **options).norm() == 0


@every_variant
def test_one_client_without_an_update_is_no_accident(name, options):
    updates = clients_for(name, options)
    updates["art"] = updates["art"].scaled(0.0)
    assert merge(name, updates, **options).norm() < float("inf")


@every_method
def test_scaling_every_update_scales_the_result(name):
    if not METHODS[name].homogeneous:
        pytest.skip("declares homogeneous=False")
    updates = clients_for(name, {})
    scaled = merge(name, {client: update.scaled(3.0) for client, update in updates.items()})
    assert_close(scaled, merge(name, updates).scaled(3.0), 1e-5)


@every_variant
def test_a_layer_does_not_depend_on_the_others_where_the_scope_says_so(name, options):
    if METHODS[name].scope == "model":
        pytest.skip("declares scope=model")
    updates = clients_for(name, options)
    alone = {client: Update({"visual.a": update["visual.a"]}) for client, update in updates.items()}
    one, both = merge(name, alone, **options), merge(name, updates, **options)
    assert torch.equal(one.dense("visual.a"), both.dense("visual.a"))


@every_variant
def test_the_same_call_gives_the_same_bits_and_leaves_the_clients_alone(name, options):
    updates = clients_for(name, options)
    first, second = merge(name, updates, **options), merge(name, updates, **options)
    for layer in first:
        assert torch.equal(first.dense(layer), second.dense(layer))
        assert first.dense(layer).shape == SHAPES[layer]
    for client, update in clients_for(name, options).items():
        for layer in update:
            assert torch.equal(updates[client].dense(layer), update.dense(layer))


@every_variant
def test_factors_and_dense_updates_give_the_same_result(name, options):
    updates = clients_for(name, options)
    dense = {client: Update({layer: update.dense(layer) for layer in update}) for client, update in updates.items()}
    if METHODS[name].space == "factors":
        with pytest.raises(SapError, match=f"merge.{name} merges factors, but layer visual.a has dense updates"):
            merge(name, dense, **options)
    else:
        assert_close(merge(name, dense, **options), merge(name, updates, **options), 1e-4)


@every_variant
def test_noise_of_a_millionth_changes_at_most_a_ten_thousandth(name, options):
    """Of every method; ill-posed ones fail here: they turn rounding into arbitrary directions."""
    updates = clients_for(name, options)
    rng = torch.Generator().manual_seed(11)
    noisy = {
        client: Update(
            {
                layer: Factors(*(f * (1 + 1e-6 * torch.randn(f.shape, generator=rng, dtype=f.dtype)) for f in entry))
                for layer, entry in update.to(torch.float64).items()
            }
        )
        for client, update in updates.items()
    }
    before = merge(name, {client: update.to(torch.float64) for client, update in updates.items()}, **options)
    after = merge(name, noisy, **options)
    for layer in before:
        change = (after.dense(layer) - before.dense(layer)).norm() / before.dense(layer).norm()
        assert change <= 1e-4, layer


@every_variant
def test_single_precision_agrees_with_double(name, options):
    updates = clients_for(name, options)
    double = merge(name, {client: update.to(torch.float64) for client, update in updates.items()}, **options)
    single = merge(name, updates, **options)
    for layer in double:
        error = (single.dense(layer).double() - double.dense(layer)).norm() / double.dense(layer).norm()
        assert error <= 1e-4, layer


@every_method
def test_nan_is_refused_with_the_client_and_the_layer(name):
    updates = clients_for(name, {})
    client = max(updates)
    updates[client] = Update(dict(updates[client]) | {"visual.b": torch.full((16, 28), torch.nan)})
    with pytest.raises(SapError, match=rf"update of '{client}': layer visual\.b holds NaN"):
        merge(name, updates)


def common_size(a, b):
    """A number of clients that both methods accept with their defaults, or None (SLERP takes two, Bulyan seven)."""
    checks = [(METHODS[name].check, METHODS[name].options()) for name in (a, b)]
    return next((n for n in (7, 4, 2) if not any(check and check(n, options) for check, options in checks)), None)


@pytest.fixture(scope="module")
def merged_by_default():
    """(name, number of clients) -> the result with default options, each computed once."""
    # norms neither equal nor far apart, or the rules that select or clip clients would all do the same
    clients = {client: make_client(30 + k, 1 + (3 * k % 7) / 7) for k, client in enumerate(make_clients(7))}
    return cache(lambda name, n: merge(name, dict(list(clients.items())[:n])))


@pytest.mark.parametrize(("a", "b"), [pair for pair in combinations(METHODS, 2) if common_size(*pair)])
def test_two_names_mean_two_things(a, b, merged_by_default):
    one, other = (merged_by_default(name, common_size(a, b)) for name in (a, b))
    same = all(torch.allclose(one.dense(layer), other.dense(layer), atol=1e-6) for layer in SHAPES)
    assert same == (frozenset({a, b}) in SAME)


def test_the_description_is_plain_and_complete():
    found = describe()
    assert list(found) == list(METHODS)
    assert found["ties"]["options"]["properties"]["density"]["default"] == 0.2
    assert found["product_of_means"]["space"] == "factors"
    assert found["weighted_mean"]["needs"] == ["counts"]
    assert all(entry["summary"] and entry["paper"] and entry["module"] for entry in found.values())


def test_wrong_options_name_the_key():
    with pytest.raises(SapError, match=r"densty.*Did you mean 'density'"):
        merge("ties", make_clients(), densty=0.5)
    with pytest.raises(SapError, match="density must be at most 1"):
        merge("ties", make_clients(), density=20.0)
    with pytest.raises(SapError, match="Did you mean 'ties'"):
        METHODS["tiess"]


def test_a_method_that_is_not_valid_for_the_cohort_says_why():
    check = lambda n, options: f"needs at least 7 clients, got {n}." if n < 7 else None  # noqa: E731
    method = replace(METHODS["mean"], name="krum_like", check=check)
    with pytest.raises(SapError, match=r"merge\.krum_like: needs at least 7 clients, got 4"):
        method.merge(stacks(make_clients()), method.options())


def test_registration_refuses_mistakes():
    with pytest.raises(SapError, match="registered twice"):
        merge_method("mean", paper="x", family="average")(lambda stack, options: None)
    with pytest.raises(TypeError, match=r"merge method new: needs must be among \('counts', .*was \['labels'\]"):
        merge_method("new", paper="x", family="average", needs={"labels"})
    with pytest.raises(TypeError, match="does not exist"):
        merge_method("new", paper="x", family="average", scope="client")


def test_mean_and_sum_stay_low_rank_and_product_of_means_keeps_the_rank():
    updates = {client: make_client(seed) for seed, client in enumerate(["art", "photo"])}
    assert merge("mean", updates)["visual.a"].A.shape == (6, 16)
    assert merge("sum", updates)["visual.a"].A.shape == (6, 16)
    assert merge("product_of_means", updates)["visual.a"].A.shape == (3, 16)


def test_the_two_averages_differ_unless_a_is_shared():
    updates = make_clients()
    a = updates["art"]
    shared = {
        client: Update({layer: Factors(a[layer].A, entry.B) for layer, entry in update.items()})
        for client, update in updates.items()
    }
    assert_close(merge("product_of_means", shared), merge("mean", shared), 1e-5)
    weighted = merge("product_of_means", shared, weights="samples")
    assert_close(weighted, merge("weighted_mean", shared), 1e-5)


def test_product_of_means_needs_equal_ranks():
    updates = make_clients() | {"photo": Update({k: Factors(v.A[:2], v.B[:, :2]) for k, v in make_client(9).items()})}
    with pytest.raises(SapError, match="needs equal ranks"):
        merge("product_of_means", updates)
    merge("mean", updates)


def test_limits_of_ties():
    """Density 1 on equal clients returns them; a naive loop over entries agrees with the vectorised rule."""
    one = make_client(5)
    assert_close(merge("ties", dict.fromkeys(make_clients(), one), density=1.0), one)
    updates = make_clients()
    merged = merge("ties", updates, density=0.3).dense("visual.a")
    deltas = [update.dense("visual.a") for update in updates.values()]
    kept = int(0.3 * 24 * 16)
    cuts = [delta.abs().flatten().sort(descending=True).values[kept - 1] for delta in deltas]
    for i in range(24):
        for j in range(16):
            values = [float(d[i, j]) for d, cut in zip(deltas, cuts, strict=True) if abs(d[i, j]) >= cut]
            sign = 1 if sum(values) >= 0 else -1
            agreeing = [value for value in values if value * sign > 0]
            want = sum(agreeing) / len(agreeing) if agreeing else 0.0
            assert float(merged[i, j]) == pytest.approx(want, rel=1e-5, abs=1e-7)


def test_a_method_reads_only_what_its_options_ask_for():
    """So the ledger is true: uniform weights read no sample counts, and TIES in KnOTS draws nothing."""
    for name, options, needs in (
        ("ties", {}, set()),
        ("ties", {"weights": "samples"}, {"counts"}),
        ("knots", {}, set()),
        ("knots", {"inner": "dare_ties"}, {"rng"}),
        ("regmean", {}, {"gram"}),
    ):
        assert METHODS[name].needed(parse(METHODS[name].options, options, name)) == needs
