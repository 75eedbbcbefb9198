"""Numbers that must always hold between a point and its merged update."""

import pytest
import torch
from safetensors.torch import save_file

import sap.finish  # noqa: F401  registers
from sap.compose import Composer, LazyGradients, LazyTensors, merge_point
from sap.errors import SapError
from sap.factors import dense
from sap.finish._api import finish
from sap.io import save_tensors
from sap.lowrank import truncate
from sap.merge._api import METHODS, merge_method
from sap.prune._api import CRITERIA
from sap.update import Factors, Update, load_update, save_update, stacks

SHAPES = {"visual.a": (24, 16), "visual.b": (16, 28)}
COUNTS = {"art": 100, "cartoon": 30, "photo": 250, "sketch": 77}
POINT = {
    "kind": "merge",
    "criterion": "taylor_absolute",
    "space": "delta",
    "alignment": "cosine",
    "reduction": "absolute_of_mean",
    "anchor_size": 32,
    "anchor_draw": 0,
    "prune_ratio": 0.5,
    "scope": "layer",
    "rescale": "none",
    "merge": {"method": "mean"},
    "scale": 1.0,
    "control": "none",
}
# criteria that need statistics score dense entries only; tests/prune has them
every_criterion = pytest.mark.parametrize(
    "criterion", [name for name, entry in CRITERIA.items() if not entry.needs & {"fisher", "gram"}]
)
# merge methods that run on these four clients with what this file has
RUNNABLE = [
    name
    for name, method in METHODS.items()
    if method.needs.keys() <= {"counts", "rng", "gradient"} and not (method.check and method.check(4, method.options()))
]
every_space = pytest.mark.parametrize("space", ["delta", "factors"])
every_scope = pytest.mark.parametrize("scope", ["layer", "model"])


def make_client(seed):
    rng = torch.Generator().manual_seed(seed)
    return Update(
        {
            layer: Factors(torch.randn(3, n, generator=rng), (1 + seed) * torch.randn(m, 3, generator=rng))
            for layer, (m, n) in SHAPES.items()
        }
    )


def make_clients():
    return {client: make_client(seed) for seed, client in enumerate(COUNTS)}


def gradients(point, client):
    rng = torch.Generator().manual_seed(100 + list(COUNTS).index(client))
    return {layer: torch.randn(shape, generator=rng) for layer, shape in SHAPES.items()}


def compose(point, updates=None, reader=gradients, seed=0):
    return Composer(updates or make_clients(), COUNTS, reader, seed).merge(POINT | point)


def assert_bits(a, b):
    assert list(a) == list(b)
    assert all(torch.equal(a.dense(layer), b.dense(layer)) for layer in a)


def assert_close(a, b):
    for layer in b:
        assert (a.dense(layer) - b.dense(layer)).abs().max() <= 2e-6 * b.dense(layer).abs().max()


def test_a_finish_comes_after_merge_and_control_and_before_rank_and_scale():
    whole = {"criterion": "none", "finish": {"method": "svc", "alpha": 0.4}}
    clients = make_clients()
    by_hand = finish(whole["finish"], compose({"criterion": "none"}), stacks(clients))
    assert_bits(compose(whole), by_hand)
    last = compose(whole | {"rank": 2, "scale": 0.5})
    for layer in last:
        assert torch.allclose(last.dense(layer), 0.5 * dense(truncate(by_hand[layer], 2)[0]), atol=1e-5)
    composer = Composer(clients, COUNTS, gradients)
    pruned = {"prune_ratio": 0.5, "finish": "svc"}
    for control in ("none", "shrunk", "restored"):
        before = composer.merge(POINT | {"prune_ratio": 0.5, "control": control})
        seen = composer.stacks(POINT | {"criterion": "none"} if control == "shrunk" else POINT | pruned)[2]
        assert_bits(composer.merge(POINT | pruned | {"control": control}), finish("svc", before, seen))


@every_criterion
@every_space
@every_scope
@pytest.mark.parametrize("rescale", ["none", "inverse_density", "frobenius", "frobenius_model", "l1"])
def test_ratio_zero_equals_the_unpruned_merge_bit_for_bit(criterion, space, scope, rescale):
    for method in RUNNABLE:
        point = {"criterion": criterion, "space": space, "scope": scope, "prune_ratio": 0.0, "rescale": rescale}
        merge = {"merge": {"method": method}}
        assert_bits(compose(point | merge), compose({"criterion": "none"} | merge))


@every_criterion
@every_space
@every_scope
def test_a_ratio_that_drops_nothing_goes_through_pruning_unharmed(criterion, space, scope):
    point = {"criterion": criterion, "space": space, "scope": scope, "prune_ratio": 1e-6}
    assert_close(compose(point), compose({"criterion": "none"}))


@every_criterion
@every_space
@every_scope
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9, 1.0])
def test_exactly_the_promised_number_of_entries_is_dropped(criterion, space, scope, ratio):
    composer = Composer(make_clients(), COUNTS, gradients)
    pruned = composer.prune(
        POINT | {"criterion": criterion, "space": space, "scope": scope, "prune_ratio": ratio}, "art"
    )
    tensors = [list(entry) if isinstance(entry, Factors) else [entry] for entry in pruned.values()]
    parts = (
        [[tensor] for layer in tensors for tensor in layer]
        if scope == "layer"
        else [[tensor for layer in tensors for tensor in layer]]
    )
    for part in parts:
        total = sum(tensor.numel() for tensor in part)
        assert sum(int((tensor == 0).sum()) for tensor in part) == int(round(ratio * 10) * total // 10)


@every_criterion
@every_space
@every_scope
def test_client_order_does_not_matter_bit_for_bit(criterion, space, scope):
    point = {"criterion": criterion, "space": space, "scope": scope}
    assert_bits(compose(point, dict(reversed(make_clients().items()))), compose(point))


@pytest.mark.parametrize("method", [name for name in RUNNABLE if METHODS[name].average])
def test_equal_clients_merge_to_that_client_pruned_or_not(method):
    one = make_client(7)
    updates = dict.fromkeys(COUNTS, one)
    space = "factors" if METHODS[method].space == "factors" else "delta"

    def same(point, client):
        return gradients(point, "art")

    point = POINT | {"merge": {"method": method}, "space": space}
    assert_close(Composer(updates, COUNTS, same).merge(point | {"criterion": "none"}), one)
    composer = Composer(updates, COUNTS, same)
    assert_close(composer.merge(point), composer.prune(point, "photo"))


def test_one_client_is_loaded_bit_for_bit():
    assert_bits(merge_point({"merge": {"method": "mean"}}, {"art": make_client(3)}), make_client(3))


@every_criterion
def test_zero_updates_stay_zero(criterion):
    updates = {client: update.scaled(0.0) for client, update in make_clients().items()}
    for rescale in ("none", "inverse_density", "frobenius", "frobenius_model", "l1"):
        for control in ("none", "shrunk", "restored"):
            assert compose({"criterion": criterion, "rescale": rescale, "control": control}, updates).norm() == 0


@every_criterion
@every_space
def test_the_shrunk_control_has_the_pruned_norms_and_the_restored_one_the_unpruned(criterion, space):
    point = {"criterion": criterion, "space": space, "prune_ratio": 0.7}
    unpruned, pruned = compose(point | {"criterion": "none"}), compose(point)
    shrunk, restored = compose(point | {"control": "shrunk"}), compose(point | {"control": "restored"})
    assert shrunk.norms() == pytest.approx(pruned.norms(), rel=1e-5)
    assert restored.norms() == pytest.approx(unpruned.norms(), rel=1e-5)
    for layer in SHAPES:
        for a, b in ((shrunk, unpruned), (restored, pruned)):  # same direction
            cosine = a.inners(b)[layer] / (a.norms()[layer] * b.norms()[layer])
            assert cosine == pytest.approx(1, abs=1e-6)


def test_scale_multiplies_at_the_end_and_zero_gives_zero():
    assert_bits(compose({"scale": 0.25}), compose({}).scaled(0.25))
    assert compose({"scale": 0.0}).norm() == 0


def test_a_rank_cuts_the_merge_back_to_the_best_approximation():
    whole, cut = compose({"merge": {"method": "mean"}}), compose({"merge": {"method": "mean"}, "rank": 2})
    for layer in whole:
        u, s, v = torch.linalg.svd(whole.dense(layer).double())
        assert s[2] > 0.01 * s[0]
        torch.testing.assert_close(cut.dense(layer).double(), u[:, :2] * s[:2] @ v[:2], atol=1e-5, rtol=1e-4)


def test_the_order_of_points_does_not_matter():
    points = [
        POINT | {"criterion": criterion, "prune_ratio": ratio, "scope": scope, "control": control, "space": space}
        for criterion in ("none", "taylor_absolute", "random")
        for ratio in (0.2, 0.8)
        for scope in ("layer", "model")
        for space in ("delta", "factors")
        for control in ("none", "shrunk")
    ]
    composer, tight = (
        Composer(make_clients(), COUNTS, gradients),
        Composer(make_clients(), COUNTS, gradients, cache_bytes=0),
    )
    forth, back = [composer.merge(point) for point in points], [tight.merge(point) for point in reversed(points)]
    for a, b in zip(forth, reversed(back), strict=True):
        assert_bits(a, b)


@every_space
def test_random_masks_are_nested_and_depend_on_client_layer_and_seed(space):
    def mask(client="art", seed=0, ratio=0.5):
        updates = dict.fromkeys(("art", "photo"), make_client(0))
        point = POINT | {"criterion": "random", "prune_ratio": ratio, "space": space}
        entry = Composer(updates, seed=seed).prune(point, client)["visual.a"]
        return (entry.A if space == "factors" else entry) != 0

    assert torch.equal(mask(), mask())
    assert (mask(ratio=0.9) <= mask(ratio=0.5)).all()
    assert not torch.equal(mask(), mask(client="photo"))
    assert not torch.equal(mask(), mask(seed=1))


def test_factor_space_scores_are_the_derivatives_of_the_factors():
    """∂L/∂A and ∂L/∂B by autograd through B·A equal what the Composer uses."""
    update, gradient = make_client(0), gradients({}, "art")
    composer = Composer({"art": update}, gradients=gradients)
    got = composer.prune(POINT | {"space": "factors", "prune_ratio": 0.4}, "art")
    for layer in SHAPES:
        A, B = (factor.clone().requires_grad_() for factor in update[layer])
        ((B @ A) * gradient[layer]).sum().backward()
        for factor, pruned in ((A, got[layer].A), (B, got[layer].B)):
            score = (factor * factor.grad).abs().detach().flatten()
            dropped = int(0.4 * score.numel())
            want = factor.detach().flatten().clone()
            want[score.argsort()[:dropped]] = 0
            assert torch.equal(pruned.flatten(), want)


def test_mean_of_absolute_reads_the_stored_factor_gradients_and_refuses_signs():
    def stored(point, client):
        found = {layer: gradient.abs() for layer, gradient in gradients(point, client).items()}
        for layer, entry in make_client(0).items():
            found |= {f"{layer}/A": torch.rand(entry.A.shape), f"{layer}/B": torch.rand(entry.B.shape)}
        return found

    point = {"reduction": "mean_of_absolute", "space": "factors"}
    assert isinstance(compose(point, reader=stored)["visual.a"], Factors | torch.Tensor)
    with pytest.raises(SapError, match="needs the gradient's sign"):
        compose(point | {"criterion": "taylor_signed"}, reader=stored)
    with pytest.raises(SapError, match=r"lack visual\.a/A"):
        compose(point)


def test_linear_merges_of_factors_stay_low_rank():
    updates = {client: make_clients()[client] for client in ("art", "photo")}
    for point in ({"criterion": "none"}, {"space": "factors"}, {"control": "shrunk"}):
        assert isinstance(compose(point, updates)["visual.a"], Factors)


def test_a_saved_merge_gives_the_same_bits(tmp_path):
    for point in ({}, {"criterion": "none"}, {"space": "factors"}):
        save_update(tmp_path / "u.safetensors", compose(point))
        assert_bits(load_update(tmp_path / "u.safetensors"), compose(point))


def test_merge_point_and_the_composer_agree():
    one = merge_point(POINT, make_clients(), COUNTS, lambda client, size: gradients(POINT, client), seed=4)
    assert_bits(one, compose({}, seed=4))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda name, tensor: {}, "client 'art': its statistics lack visual.b/"),
        (lambda name, tensor: {name: tensor[:-1]}, "must be finite and of shape"),
        (lambda name, tensor: {name: tensor * torch.inf}, "must be finite and of shape"),
        (lambda name, tensor: {name: tensor - 1e3}, "must be a mean of squares, and has -"),
    ],
)
@pytest.mark.parametrize(("kind", "method"), [("gram", "regmean"), ("fisher", "fisher")])
def test_statistics_that_a_client_sent_are_not_believed_by_a_merge_either(kind, method, spoil, words):
    def statistics(point, client):
        found = {
            f"{layer}/{kind}": torch.eye(n) if kind == "gram" else torch.ones(m, n) for layer, (m, n) in SHAPES.items()
        }
        if client == "art":
            name = f"visual.b/{kind}"
            found |= spoil(name, found.pop(name))
        return found

    with pytest.raises(SapError, match=words):
        Composer(make_clients(), COUNTS, statistics=statistics).merge({"merge": {"method": method}})


def test_a_method_gets_what_it_declared_and_nothing_else():
    seen = {}

    def spy(stack, options):
        seen.update(stack.extras, weights=stack.weights.tolist())
        return stack.delta(0)

    def statistics(point, client):
        return {f"{layer}/gram": torch.full((n, n), float(COUNTS[client])) for layer, (_, n) in SHAPES.items()}

    merge_method("spy", paper="test", family="average", needs={"rng", "gram", "gradient"})(spy)
    try:
        Composer(make_clients(), COUNTS, gradients, statistics=statistics).merge({"merge": {"method": "spy"}})
        assert set(seen) == {"rng", "gram", "gradient", "weights"}
        assert torch.equal(seen["gram"](2), statistics({}, "photo")["visual.b/gram"])  # of the last layer
        assert torch.equal(seen["gradient"](1), gradients({}, "cartoon")["visual.b"])
        assert torch.equal(torch.rand(3, generator=seen["rng"]("art")), torch.rand(3, generator=seen["rng"]("art")))
        assert seen["weights"] == [0.25] * 4  # sample counts were not declared
        with pytest.raises(SapError, match=r"merge\.spy needs gradient, which this run does not have"):
            Composer(make_clients(), statistics=statistics).merge({"merge": {"method": "spy"}})
    finally:
        del METHODS._entries["spy"]


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"criterion": "taylor"}, "unknown criterion 'taylor'"),
        ({"merge": {"method": "tie"}}, "unknown merge method 'tie'. Did you mean 'ties'"),
        ({"merge": {"method": "ties", "denisty": 0.2}}, r"merge\.ties: unknown key 'denisty'"),
        ({"rescale": "norm"}, "rescale: unknown value 'norm'"),
        (
            {"merge": {"method": "product_of_means"}},
            "product_of_means merges factors, but pruning in space delta",
        ),
    ],
)
def test_wrong_points_are_one_sentence(point, words):
    with pytest.raises(SapError, match=words):
        compose(point)


def test_missing_and_broken_gradients_are_one_sentence():
    with pytest.raises(SapError, match="needs gradients of the anchors"):
        compose({}, reader=None)
    with pytest.raises(SapError, match=r"its gradients lack visual\.a"):
        compose({}, reader=lambda point, client: {})
    with pytest.raises(SapError, match=r"its gradient of visual\.b holds NaN"):
        compose({}, reader=lambda p, c: gradients(p, c) | {"visual.b": torch.full((16, 28), torch.nan)})


@pytest.mark.parametrize("notes", ["{", "[1]", "7", "[" * 200_000], ids=lambda notes: notes[:5])
def test_a_file_of_a_client_whose_notes_are_odd_is_one_sentence(tmp_path, notes):
    path = tmp_path / "statistics.safetensors"
    save_file({"a/gram": torch.ones(2, 2)}, str(path), metadata={"notes": notes})
    with pytest.raises(SapError, match=r"statistics\.safetensors cannot be read"):
        LazyTensors(path)


def test_gradient_files_are_read_layer_by_layer(tmp_path):
    path = tmp_path / "gradients.safetensors"
    save_tensors(path, {"8/visual.a": torch.ones(2, 3), "16/visual.a": torch.zeros(2, 3)}, {"reduction": "x"})
    found = LazyGradients(path, 8)
    assert list(found) == ["visual.a"]
    assert torch.equal(found["visual.a"], torch.ones(2, 3))
    assert found.notes == {"reduction": "x"}
    with pytest.raises(SapError, match="no gradients of 32 anchors"):
        LazyGradients(path, 32)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(SapError, match="cannot be read"):
        LazyGradients(path, 8)
