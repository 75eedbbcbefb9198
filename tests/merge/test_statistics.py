"""Fisher, RegMean, LoRM, Sens-Merging, AdaMerging, greedy soup: numbers, limits and hand-worked cases."""

import pytest
import torch

from sap.config import parse
from sap.errors import SapError
from sap.factors import Factors
from sap.merge._api import METHODS
from sap.update import Update, stacks
from tests.merge.closed_form import LAYER, assert_numbers, clients, factors, gram, merged
from tests.merge.cohort import SHAPES, QuadraticJudge, assert_close, make_client, make_clients, merge


def run(name, updates, extras, **options) -> Update:
    """A registered method on these clients; `extras`: need -> function of the layer."""
    method = METHODS[name]
    return method.merge(stacks(updates, None, extras), parse(method.options, options, name))


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_layer(*deltas) -> dict[str, Update]:
    return {f"client{k}": Update({"layer": delta}) for k, delta in enumerate(deltas)}


# RegMean


@pytest.mark.parametrize(
    ("alpha", "numbers"),
    [
        (1.0, (4.454174, 5.814844, -0.262696, 0.450532)),
        (0.95, (4.452536, 5.791766, -0.263553, 0.451702)),
        (0.9, (4.450991, 5.769050, -0.264498, 0.452856)),
    ],
)
def test_regmean_has_the_closed_form_numbers(alpha, numbers):
    assert_numbers(merged("regmean", alpha=alpha, ridge=0.0), *numbers)


def test_regmean_solves_the_least_squares_problem_on_the_inputs_themselves():
    inputs = [random(20, 8, seed=k) for k in range(3)]
    updates = clients()
    extras = {"gram": lambda layer: lambda k: inputs[k].T @ inputs[k] / 20}
    answers = torch.cat([x @ update.dense(LAYER).T for x, update in zip(inputs, updates.values(), strict=True)])
    want = torch.linalg.lstsq(torch.cat(inputs), answers).solution.T
    torch.testing.assert_close(run("regmean", updates, extras, alpha=1.0, ridge=0.0).dense(LAYER), want)


@pytest.mark.parametrize("alpha", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("ridge", [0.0, 1e-6, 0.1])
def test_one_gram_for_all_clients_makes_regmean_the_mean(alpha, ridge):
    extras = {"gram": lambda layer: lambda k: gram(1)}
    found = run("regmean", clients(), extras, alpha=alpha, ridge=ridge).dense(LAYER)
    torch.testing.assert_close(found, merged("mean"))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_large_ridge_makes_regmean_the_mean(alpha):
    torch.testing.assert_close(merged("regmean", alpha=alpha, ridge=1e9), merged("mean"), rtol=1e-6, atol=1e-8)


def test_diagonal_regmean_weighs_every_input_by_its_mean_square():
    diagonals = torch.stack([gram(k).diagonal() for k in range(3)])
    want = sum(update.dense(LAYER) * d for update, d in zip(clients().values(), diagonals, strict=True))
    torch.testing.assert_close(merged("regmean", alpha=0.0, ridge=0.0), want / diagonals.sum(0))


def test_regmean_turns_with_its_outputs_and_its_inputs():
    P, Q = (torch.linalg.qr(random(size, size, seed=size)).Q for size in (6, 8))
    turned = {
        name: Update({LAYER: Factors(update[LAYER].A @ Q.T, P @ update[LAYER].B)}) for name, update in clients().items()
    }
    extras = {"gram": lambda layer: lambda k: Q @ gram(k) @ Q.T}
    found = run("regmean", turned, extras, alpha=1.0).dense(LAYER)
    torch.testing.assert_close(found, P @ merged("regmean", alpha=1.0) @ Q.T)


def test_regmean_stays_low_rank():
    updates = {client: make_client(seed, shapes={"visual.a": (64, 48)}) for seed, client in enumerate(["art", "photo"])}
    entry = merge("regmean", updates)["visual.a"]
    assert (entry.A.shape, entry.B.shape) == ((6, 48), (64, 6))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_grams_of_too_few_inputs_need_the_ridge(alpha):
    silent = torch.diag(torch.tensor([1.0, 2.0, 0.0, 4.0], dtype=torch.float64))  # nobody's third input moves
    updates = one_layer(random(3, 4, seed=0), random(3, 4, seed=1))
    extras = {"gram": lambda layer: lambda k: silent * (k + 1)}
    with pytest.raises(SapError, match=r"layer layer: the Grams of client0, client1 .* singular .* Raise .* ridge"):
        run("regmean", updates, extras, alpha=alpha, ridge=0.0)
    found = run("regmean", updates, extras, alpha=alpha).dense("layer")
    first, second = (update.dense("layer") for update in updates.values())
    torch.testing.assert_close(found[:, 2], (first + second)[:, 2] / 2)
    torch.testing.assert_close(found[:, 0], (first + 2 * second)[:, 0] / 3, rtol=1e-4, atol=1e-5)


def test_single_precision_updates_survive_grams_beyond_single_precision():
    """Condition number 1e7, as of real activations with a dominant mean: solved in float64, only ΔW is rounded."""
    spread = torch.logspace(0, -7, 8, dtype=torch.float64)
    grams = [Q @ spread.diag() @ Q.T for Q in (torch.linalg.qr(random(8, 8, seed=1) + k / 50).Q for k in range(3))]
    extras = {"gram": lambda layer: grams.__getitem__}
    exact = run("regmean", clients(), extras, alpha=1.0, ridge=0.0).dense(LAYER)
    single = {client: update.to(torch.float32) for client, update in clients().items()}
    found = run("regmean", single, extras, alpha=1.0, ridge=0.0).dense(LAYER)
    assert (found.double() - exact).norm() < 1e-4 * exact.norm()


# LoRM


def test_lorm_has_the_closed_form_numbers():
    options = {"alpha": 1.0, "ridge": 0.0}
    b_step = merged("lorm", clients(shared_a=True), **options, shared="A")
    assert_numbers(b_step, 2.805107, -0.356107, -0.537629, 0.167783)
    a_step = merged("lorm", clients(shared_b=True), **options, shared="B")
    assert_numbers(a_step, 3.056202, 5.233588, 0.620427, -0.193219)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_lorm_takes_the_step_that_the_clients_allow(alpha):
    for updates in (clients(), clients(shared_b=True)):  # a shared B drops out of RegMean
        torch.testing.assert_close(
            merged("lorm", updates, alpha=alpha),
            merged("regmean", updates, alpha=alpha),
            rtol=1e-5,
            atol=1e-8,
        )
    updates = clients(shared_a=True)
    found = merged("lorm", updates, alpha=alpha, ridge=0.0)
    A = factors(0).A
    grams = [alpha * gram(k) + (1 - alpha) * gram(k).diagonal().diag() for k in range(3)]
    K = [A @ G @ A.T for G in grams]
    B = sum(update[LAYER].B @ k for update, k in zip(updates.values(), K, strict=True)) @ torch.linalg.inv(sum(K))
    torch.testing.assert_close(found, B @ A)
    assert (found - merged("regmean", updates, alpha=alpha)).norm() > 0.01 * found.norm()


def test_projected_grams_and_full_ones_give_the_same_b_step():
    updates = clients(shared_a=True)
    full = merged("lorm", updates, alpha=1.0)
    torch.testing.assert_close(merged("lorm", updates, alpha=1.0, projected=True), full)


def test_lorm_keeps_the_rank_where_a_factor_is_shared():
    for shared in ("shared_a", "shared_b"):
        updates = clients(**{shared: True})
        entry = run("lorm", updates, {"gram": lambda layer: gram})[LAYER]
        assert (entry.A.shape, entry.B.shape) == ((2, 8), (6, 2))


@pytest.mark.parametrize("options", [{"shared": "A"}, {"shared": "B"}, {"projected": True}])
def test_lorm_names_the_client_whose_factor_is_not_shared(options):
    updates = clients(shared_a=True, shared_b=True)
    wanted = options.get("shared", "A")
    updates["client2"] = Update({LAYER: factors(2)})
    with pytest.raises(SapError, match=rf"layer layer needs one {wanted} for all clients.*'client2' differs"):
        merged("lorm", updates, **options)


def test_lorm_forgives_rounding_of_a_shared_factor():
    updates = clients(shared_a=True)
    A, B = updates["client1"][LAYER]
    updates["client1"] = Update({LAYER: Factors(A * (1 + 1e-8), B)})
    torch.testing.assert_close(
        merged("lorm", updates, shared="A"), merged("lorm", clients(shared_a=True)), rtol=1e-6, atol=1e-8
    )


def test_lorm_refuses_options_that_make_no_sense():
    with pytest.raises(SapError, match=r"merge\.lorm: projected Grams serve the B step"):
        merged("lorm", clients(shared_b=True), projected=True, shared="B")
    with pytest.raises(SapError, match=r"lorm\.shared must match .*AB.*, got 'C'"):
        merged("lorm", shared="C")


def test_uploads_are_the_numbers_that_a_client_sends():
    def sent(name, **options):
        method = METHODS[name]
        return method.uploads(parse(method.options, options, name), 30, 20, 4)

    assert (sent("regmean"), sent("regmean", alpha=0.0), sent("fisher")) == (400, 20, 600)
    assert (sent("lorm"), sent("lorm", alpha=1.0), sent("lorm", projected=True)) == (20, 400, 16)


# Fisher


def test_fisher_has_the_closed_form_numbers():
    assert_numbers(merged("fisher", floor_unit="absolute"), 5.944430, 6.260461, -0.564054, 1.501650)
    plain = merged("fisher", floor_unit="absolute", normalise=False)
    assert_numbers(plain, 5.946895, 6.192409, -0.560214, 1.502728)


def fisher(*values, **options):
    updates = one_layer(*(random(2, 3, seed=k) for k in range(len(values))))
    return run("fisher", updates, {"fisher": lambda layer: lambda k: values[k]}, **options).dense("layer")


@pytest.mark.parametrize("unit", ["relative", "absolute"])
def test_equal_fisher_makes_it_the_mean(unit):
    value = random(2, 3, seed=9) ** 2
    want = (random(2, 3, seed=0) + random(2, 3, seed=1)) / 2
    torch.testing.assert_close(fisher(value, value, floor_unit=unit), want)


def test_an_entry_that_one_client_alone_knows_is_that_clients():
    first, second = torch.eye(2, 3, dtype=torch.float64), 1 - torch.eye(2, 3, dtype=torch.float64)
    want = first * random(2, 3, seed=0) + second * random(2, 3, seed=1)
    torch.testing.assert_close(fisher(first, second, floor=1e-12), want, rtol=1e-6, atol=1e-9)


def test_a_large_floor_makes_it_the_mean():
    first, second = torch.eye(2, 3, dtype=torch.float64), 1 - torch.eye(2, 3, dtype=torch.float64)
    want = (random(2, 3, seed=0) + random(2, 3, seed=1)) / 2
    found = fisher(first, second, floor=1e9, floor_unit="absolute", normalise=False)
    torch.testing.assert_close(found, want, rtol=1e-6, atol=1e-8)


def test_the_scale_of_a_clients_fisher_counts_only_without_normalise():
    """By default also a client whose Fisher values lie far below the floor keeps its say."""
    first, second = random(2, 3, seed=5) ** 2, random(2, 3, seed=6) ** 2
    torch.testing.assert_close(fisher(first, 1e-12 * second), fisher(first, second), rtol=1e-6, atol=1e-9)
    plain = fisher(first, 1e-12 * second, normalise=False)
    torch.testing.assert_close(plain, random(2, 3, seed=0), rtol=1e-6, atol=1e-6)


def test_normalise_divides_by_the_norm_over_all_layers():
    layers = {"visual.a": 1.0, "visual.b": 2.0}
    updates = make_clients(2)
    values = {
        (layer, k): random(*SHAPES[layer], seed=k + 3) ** 2 * size for layer, size in layers.items() for k in (0, 1)
    }
    sizes = [sum(float(values[layer, k].norm()) ** 2 for layer in layers) ** 0.5 for k in (0, 1)]
    given = {"fisher": lambda layer: lambda k: values[layer, k]}
    scaled = {"fisher": lambda layer: lambda k: values[layer, k] / sizes[k]}
    assert_close(
        run("fisher", updates, given, floor=0.0), run("fisher", updates, scaled, floor=0.0, normalise=False), 1e-5
    )


def test_without_any_fisher_there_is_no_update():
    nothing = torch.zeros(2, 3, dtype=torch.float64)
    assert torch.equal(fisher(nothing, nothing), nothing)


# methods that ask the anchors


class Anchors(QuadraticJudge):
    """The quadratic judge with a target that the test names, and the number of calls."""

    def __init__(self, updates, target=None):
        super().__init__(updates)
        self.target = target or self.target
        self.calls = 0

    def loss(self, update):
        self.calls += 1
        return super().loss(update)


def mix(updates, *weights) -> Update:
    one = next(iter(updates.values()))
    pairs = list(zip(updates.values(), weights, strict=True))
    return Update({layer: sum(weight * update.dense(layer) for update, weight in pairs) for layer in one})


def judged(name, updates, judge, gradients=None, **options):
    extras = {"anchors": lambda layer: judge, "gradient": lambda layer: lambda k: gradients[k][layer]}
    return run(name, updates, {need: extras[need] for need in METHODS[name].needs}, **options)


def doubles(n=4):
    return {client: update.to(torch.float64) for client, update in make_clients(n).items()}


def test_greedy_soup_takes_the_clients_that_help_and_no_other():
    updates = doubles()
    wanted = mix(updates, 0.5, 0.5, 0, 0)
    judge = Anchors(updates, {layer: wanted.dense(layer) for layer in SHAPES})
    assert_close(judged("greedy_soup", updates, judge), wanted)
    assert judge.calls == 4 + 3
    alone = Anchors(updates, {layer: updates["photo"].dense(layer) for layer in SHAPES})
    assert_close(judged("greedy_soup", updates, alone), updates["photo"])


def test_greedy_soup_wants_a_strict_fall():
    """A copy of the best client changes nothing; were it counted, the third client would bring the mean nearer."""
    values = (1.0, 1.0, -3.0)  # target 0: mean of the first two 1, of all -1/3, of the first and the third -1
    updates = one_layer(*(torch.full((1, 1), value, dtype=torch.float64) for value in values))
    judge = Anchors(updates, {"layer": torch.zeros(1, 1, dtype=torch.float64)})
    assert judged("greedy_soup", updates, judge).dense("layer").item() == 1.0


def test_greedy_soup_breaks_ties_by_name():
    updates = doubles(3)
    judge = Anchors(updates)
    judge.loss = lambda update: 1.0
    for given in (updates, dict(reversed(updates.items()))):
        assert_close(judged("greedy_soup", given, judge), updates["art"])


def test_adamerging_without_a_step_is_the_mean():
    updates = doubles()
    assert_close(judged("adamerging", updates, Anchors(updates), steps=0), merge("mean", updates))


def test_adamerging_moves_every_coefficient_down_its_own_slope():
    """Adam's first step has the length of the learning rate, whatever the size of the slope."""
    updates = doubles(3)
    judge = Anchors(updates)
    _, gradients = judge.gradients(mix(updates, 1 / 3, 1 / 3, 1 / 3))
    for per in ("layer", "client"):
        found = judged("adamerging", updates, judge, steps=1, learning_rate=0.1, per=per)
        slopes = {
            layer: [float((gradients[layer] * update.dense(layer)).sum()) for update in updates.values()]
            for layer in SHAPES
        }
        if per == "client":
            total = [sum(values) for values in zip(*slopes.values(), strict=True)]
            slopes = dict.fromkeys(SHAPES, total)
        for layer in SHAPES:
            weights = [1 / 3 - 0.1 * (1 if slope > 0 else -1) for slope in slopes[layer]]
            torch.testing.assert_close(found.dense(layer), mix(updates, *weights).dense(layer), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("per", ["layer", "client"])
def test_adamerging_finds_the_coefficients_that_the_anchors_want(per):
    updates = doubles(3)
    wanted = mix(updates, 0.7, 0.0, 0.4)
    judge = Anchors(updates, {layer: wanted.dense(layer) for layer in SHAPES})
    found = judged("adamerging", updates, judge, per=per, steps=600)
    assert_close(found, wanted, 1e-2)
    assert judge.loss(found) < 1e-3 * judge.loss(merge("mean", updates))


def test_adamerging_keeps_coefficients_between_0_and_1():
    updates = doubles(2)
    wanted = mix(updates, 3.0, -2.0)
    judge = Anchors(updates, {layer: wanted.dense(layer) for layer in SHAPES})
    assert_close(judged("adamerging", updates, judge, steps=400), updates["art"], 1e-2)


def sens(updates, judge, gradients, temperature) -> Update:
    """Sens-Merging, written down entry by entry."""
    names, layers = list(updates), list(SHAPES)
    alpha = []
    for k, name in enumerate(names):
        raw = [float((updates[name].dense(layer) * gradients[k][layer]).abs().sum()) for layer in layers]
        size = sum(value**2 for value in raw) ** 0.5
        alpha.append([value / size for value in raw])
    logits = [judge.logits(update) for update in updates.values()]
    apart = [sum(float((a - b).norm(dim=1).mean()) for b in logits) for a in logits]
    tau = [value / sum(apart) for value in apart]
    found = {}
    for i, layer in enumerate(layers):
        powers = [torch.tensor(alpha[k][i] * tau[k] / temperature).exp() for k in range(len(names))]
        found[layer] = sum(p / sum(powers) * updates[name].dense(layer) for p, name in zip(powers, names, strict=True))
    return Update(found)


def sens_inputs():
    updates = doubles(3)
    gradients = [{layer: random(*shape, seed=10 * k + 1) for layer, shape in SHAPES.items()} for k in range(3)]
    return updates, Anchors(updates), gradients


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_sens_merging_is_the_formula_written_down(temperature):
    updates, judge, gradients = sens_inputs()
    found = judged("sens_merging", updates, judge, gradients, temperature=temperature)
    assert_close(found, sens(updates, judge, gradients, temperature), 1e-6)
    assert (found + merge("mean", updates).scaled(-1)).norm() > 1e-3 * found.norm()


def test_sens_merging_at_high_temperature_is_the_mean_and_at_low_one_the_client_that_stands_out():
    updates, judge, gradients = sens_inputs()
    assert_close(judged("sens_merging", updates, judge, gradients, temperature=1e9), merge("mean", updates))
    cold = judged("sens_merging", updates, judge, gradients, temperature=1e-6)
    for layer in SHAPES:
        nearest = min(float((cold.dense(layer) - update.dense(layer)).norm()) for update in updates.values())
        assert nearest < 1e-9


def test_sens_merging_of_a_client_without_sensitivity_and_logits_alike_is_finite():
    updates, judge, _ = sens_inputs()
    nothing = [{layer: torch.zeros(shape, dtype=torch.float64) for layer, shape in SHAPES.items()}] * 3
    judge.logits = lambda update: torch.ones(6, 6)
    assert_close(judged("sens_merging", updates, judge, nothing), merge("mean", updates))


@pytest.mark.parametrize("name", ["sens_merging", "adamerging", "greedy_soup"])
def test_methods_that_ask_the_anchors_stay_low_rank(name):
    shapes = {"visual.a": (64, 48), "visual.b": (48, 64)}
    updates = {client: make_client(seed, shapes=shapes) for seed, client in enumerate(["art", "photo"])}
    assert all(isinstance(entry, Factors) for entry in merge(name, updates).values())
