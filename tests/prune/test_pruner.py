"""What competes, how many go, and what goes with them: entries, rows, components and layers of whole clients."""

import itertools

import pytest
import torch

from sap.compose import Composer
from sap.errors import SapError
from sap.prune._api import CRITERIA
from sap.prune.mask import Rule
from sap.prune.pruner import Pruner
from sap.update import Factors, Update

SHAPES = {"a": (8, 6), "b": (7, 10), "c": (5, 4), "d": (9, 3)}
RANK = 4
POINT = {
    "criterion": "taylor_absolute",
    "space": "delta",
    "scope": "layer",
    "reduction": "absolute_of_mean",
    "prune_ratio": 0.5,
    "rescale": "none",
}
RULES = [
    {"space": space, "scope": scope, "unit": unit}
    for space in ("delta", "factors")
    for scope in ("layer", "model", "row")
    for unit in ("entry", "row", "component", "layer")
    if not (scope == "row" and unit != "entry")
    and not (unit == "layer" and scope != "model")
    and not (unit == "component" and space != "factors")
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(rule.values()))


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def client(seed=0):
    return Update({x: Factors(random(seed + n, RANK, n), random(seed + m, m, RANK)) for x, (m, n) in SHAPES.items()})


def gradients(point, name):
    return {layer: random(50 + m, m, n) for layer, (m, n) in SHAPES.items()}


def statistics(point, name):
    found = {}
    for layer, (m, n) in SHAPES.items():
        rows = random(m, 20, n)
        found |= {f"{layer}/fisher": random(m + n, m, n) ** 2, f"{layer}/gram": rows.T @ rows / 20}
    return found


def make(update=None, reader=gradients, seed=0, measured=statistics):
    return Pruner({"art": update or client()}, reader, seed, measured)


def prune(point, pruner=None, layers=SHAPES):
    pruner = pruner or make()
    return {layer: pruner.entry(POINT | point, "art", layer) for layer in layers}


def units(unit, entry):
    """Which units of a pruned layer are still there, per tensor that holds them."""
    if unit == "entry":
        return [tensor != 0 for tensor in (entry if isinstance(entry, Factors) else [entry])]
    if unit == "component":
        assert torch.equal((entry.A != 0).any(1), (entry.B != 0).any(0))
        return [(entry.A != 0).any(1)]
    if unit == "row":
        return [((entry.B if isinstance(entry, Factors) else entry) != 0).any(1)]
    return [torch.tensor([any(bool(tensor.any()) for tensor in (entry if isinstance(entry, Factors) else [entry]))])]


@every_rule
@pytest.mark.parametrize(("ratio", "prune_top"), [(0.1, 0.0), (0.5, 0.0), (0.9, 0.0), (1.0, 0.0), (0.6, 0.2)])
@pytest.mark.parametrize("count", ["floor", "round"])
def test_exactly_the_promised_number_of_units_goes(rule, ratio, prune_top, count):
    found = prune(rule | {"prune_ratio": ratio, "prune_top": prune_top, "count": count})
    there = [units(rule["unit"], entry) for entry in found.values()]
    if rule["scope"] == "model":
        groups = [torch.cat([part.flatten() for layer in there for part in layer])]
    elif rule["scope"] == "row":
        groups = [row for layer in there for part in layer for row in part]
    else:
        groups = [part.flatten() for layer in there for part in layer]
    for group in groups:
        assert int((~group).sum()) == sum(Rule(ratio, prune_top=prune_top, count=count).dropped(len(group)))


@every_rule
def test_what_stays_is_untouched(rule):
    before, after = client(), prune(rule)
    for layer, entry in after.items():
        whole = before[layer] if isinstance(entry, Factors) else [before.dense(layer)]
        for tensor, full in zip(entry if isinstance(entry, Factors) else [entry], whole, strict=True):
            assert torch.equal(tensor, full * (tensor != 0))


@every_rule
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_works_wherever_its_needs_exist(rule, criterion):
    if rule["space"] == "factors" and CRITERIA[criterion].needs & {"fisher", "gram"}:
        composer = Composer({"art": client()}, None, gradients, statistics=statistics)
        with pytest.raises(SapError, match=f"{criterion} is measured on the dense update. Set space: delta"):
            composer.prune(POINT | rule | {"criterion": criterion}, "art")
    else:
        found = Update(prune(rule | {"criterion": criterion}))
        assert 0 < found.norm() < client().norm() * 1.5


def magnitudes(unit, entry):
    """Mean |w| of each unit of an unpruned layer, in the shapes of `units`."""
    parts = [part.abs() for part in (entry if isinstance(entry, Factors) else [entry])]
    if unit == "entry":
        return parts
    if unit == "component":
        return [torch.stack([torch.cat([parts[0][i], parts[1][:, i]]).mean() for i in range(RANK)])]
    if unit == "row":
        return [torch.stack([row.mean() for row in parts[-1]])]
    return [torch.cat([part.flatten() for part in parts]).mean().reshape(1)]


@every_rule
def test_the_two_sided_rule_drops_the_highest_and_the_lowest(rule):
    update, groups = client(), []
    after = prune(rule | {"criterion": "magnitude", "prune_ratio": 0.6, "prune_top": 0.3}, make(update))
    for layer, entry in after.items():
        whole = update[layer] if isinstance(entry, Factors) else update.dense(layer)
        groups += zip(magnitudes(rule["unit"], whole), units(rule["unit"], entry), strict=True)
    if rule["scope"] == "row":
        groups = [pair for scores, keep in groups for pair in zip(scores, keep, strict=True)]
    if rule["scope"] == "model":
        groups = [[torch.cat([part.flatten() for part in parts]) for parts in zip(*groups, strict=True)]]
    for scores, keep in groups:
        below, above = (scores < scores[keep].min()).sum(), (scores > scores[keep].max()).sum()
        assert (int(below), int(above)) == Rule(0.6, prune_top=0.3).dropped(scores.numel())


def test_prune_top_zero_is_the_one_sided_rule():
    one, two = prune({}), prune({"prune_top": 0.0, "count": "floor", "unit": "entry"})
    assert all(torch.equal(one[layer], two[layer]) for layer in SHAPES)


def test_a_row_is_judged_by_the_mean_of_its_scores():
    weight = torch.tensor([[3.0, 0.0, 0.0], [1.1, 1.1, 1.1], [2.0, 0.5, 0.4]])
    pruner = make(Update({"a": weight}))
    point = {"criterion": "magnitude", "unit": "row", "prune_ratio": 0.67}
    assert prune(point, pruner, "a")["a"].any(1).tolist() == [False, True, False]


def test_a_row_of_factors_is_a_row_of_b():
    update = client()
    A, B = prune({"space": "factors", "unit": "row", "criterion": "magnitude"})["b"]
    assert torch.equal(A, update["b"].A)
    gone = update["b"].B.abs().mean(1).argsort()[:3]
    assert (B @ A).any(1).logical_not().nonzero().flatten().tolist() == sorted(gone.tolist())


def test_components_go_as_rank_one_matrices_and_signed_ones_by_their_loss_change():
    """Removing component i changes the loss by −⟨G, b_i a_i⟩ to first order; what improves most goes first."""
    update, G = client(), gradients(None, "art")
    found = prune({"space": "factors", "unit": "component", "criterion": "taylor_signed"})
    for layer, (A, B) in found.items():
        whole = update[layer]
        change = torch.stack([-(torch.outer(whole.B[:, i], whole.A[i]) * G[layer]).sum() for i in range(RANK)])
        keep = change >= change.sort().values[RANK // 2]
        assert torch.equal(A, whole.A * keep[:, None])
        torch.testing.assert_close(B @ A, (whole.B * keep) @ (whole.A * keep[:, None]))


@pytest.mark.parametrize("criterion", ["taylor_absolute", "taylor_signed"])
def test_taylor_scores_of_components_do_not_depend_on_how_a_component_is_split(criterion):
    scale = torch.tensor([0.1, 3.0, 20.0, 1.0])
    update = client()
    split = Update({layer: Factors(A * scale[:, None], B / scale) for layer, (A, B) in update.items()})
    point = {"space": "factors", "unit": "component", "scope": "model", "criterion": criterion}
    one, other = prune(point, make(update)), prune(point, make(split))
    for layer in SHAPES:
        assert torch.equal(one[layer].A != 0, other[layer].A != 0)


def test_layers_of_different_size_compete_by_their_means():
    update = Update({"small": torch.full((2, 3), 2.0), "large": torch.full((20, 30), 1.0)})
    for unit in ("row", "layer"):
        point = {"criterion": "magnitude", "unit": unit, "scope": "model", "prune_ratio": 0.5}
        found = prune(point, make(update), update)
        assert torch.equal(found["small"], update["small"])  # though its sum is smaller
        assert int(found["large"].any(1).sum()) == (9 if unit == "row" else 0)


def test_layer_units_of_factors_take_a_and_b_together():
    found = prune({"space": "factors", "unit": "layer", "scope": "model"})
    means = {}
    for layer, (A, B) in client().items():
        G = gradients(None, "art")[layer]
        scores = torch.cat([(A * (B.T @ G)).abs().flatten(), (B * (G @ A.T)).abs().flatten()])
        means[layer] = float(scores.mean())
    kept = {layer for layer, (A, B) in found.items() if A.any() and B.any()}
    assert kept == set(sorted(means, key=means.get)[2:])


def test_random_units_of_large_and_small_layers_are_equally_likely_to_go():
    update = Update({"narrow": torch.ones(4000, 2), "wide": torch.ones(4000, 50)})
    point = {"criterion": "random", "unit": "row", "scope": "model", "prune_ratio": 0.1}
    found = prune(point, make(update), update)
    for layer in update:
        assert int((~found[layer].any(1)).sum()) == pytest.approx(400, abs=80)  # four standard deviations


@every_rule
def test_random_masks_are_nested_and_depend_on_the_seed(rule):
    def mask(ratio, seed=0):
        found = prune(rule | {"criterion": "random", "prune_ratio": ratio}, make(seed=seed))
        return torch.cat([part.flatten() for entry in found.values() for part in units(rule["unit"], entry)])

    assert (mask(0.75) <= mask(0.5)).all()
    draws = [mask(0.5, seed) for seed in range(6)]
    assert any(not torch.equal(draws[0], draw) for draw in draws[1:])


def test_the_order_of_points_does_not_matter():
    points = [
        rule | {"criterion": criterion, "prune_ratio": ratio, "prune_top": top, "count": count, "rescale": rescale}
        for rule in RULES
        for criterion in ("taylor_absolute", "random")
        for ratio, top in ((0.3, 0.0), (0.6, 0.0), (0.6, 0.2))
        for count in ("floor", "round")
        for rescale in ("none", "frobenius_model")
    ]
    pruner = make()
    forth = [prune(point, pruner) for point in points]
    back = [prune(point, pruner) for point in reversed(points)]
    for point, one, other in zip(points, forth, reversed(back), strict=True):
        fresh = prune(point)
        for layer, third in itertools.product(SHAPES, (other, fresh)):
            for a, b in zip(one[layer], third[layer], strict=True):
                assert torch.equal(a, b)


def test_statistics_of_two_sources_do_not_share_a_mask():
    def read(point, name):
        power = -1 if point["statistics"] == "anchors" else 1
        return {name: tensor**power for name, tensor in statistics(point, name).items()}

    pruner = make(measured=read)
    points = [
        {"criterion": "fisher", "statistics": source, "measured": {"fisher": source}}
        for source in ("client", "anchors")
    ]
    one, other, again = (prune(point, pruner, "abc") for point in (*points, points[0]))
    for layer in "abc":  # an even number of entries
        assert torch.equal(one[layer], again[layer])
        assert torch.equal(one[layer] != 0, other[layer] == 0)


def test_fields_that_are_absent_take_their_defaults():
    assert Rule.of(POINT) == Rule(0.5, scope="layer", unit="entry", prune_top=0.0, count="floor")


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"scope": "rows"}, "scope: unknown value 'rows'. Did you mean 'row'"),
        ({"unit": "rank"}, "unit: unknown value 'rank'.*Known: entry, row, component, layer"),
        ({"count": "ceil"}, "count: unknown value 'ceil'"),
        ({"scope": "row", "unit": "row"}, "scope row cuts inside each output row, so its unit is the entry. Set unit"),
        ({"unit": "layer"}, "unit layer drops whole layers of the model. Set scope: model"),
        ({"unit": "component"}, "unit component drops rank-1 components, which only factors have. Set space: factors"),
        ({"prune_ratio": 0.2, "prune_top": 0.3}, "part of prune_ratio, so it must be at most 0.2, got 0.3"),
        ({"prune_top": -0.1}, "prune_top must be at least 0, got -0.1"),
        ({"rescale": "robustmerge"}, "rescale robustmerge lifts rank-1 .* Set space: factors, unit: entry"),
        ({"rescale": "robustmerge", "space": "factors", "unit": "component"}, "rescale robustmerge lifts rank-1"),
        ({"criterion": "obd", "space": "factors"}, "obd is measured on the dense update. Set space: delta"),
        ({"criterion": "taylor_signed", "reduction": "mean_of_absolute"}, "taylor_signed needs the gradient's sign"),
        ({"merge": {"method": "product_of_means"}}, "product_of_means merges factors, but pruning in space delta"),
    ],
)
def test_points_that_no_mask_could_obey_are_refused_in_a_sentence(point, words):
    """By the library, whether it merges the client or prunes it alone, in the words of the config."""
    composer = Composer({"art": client()}, None, gradients)
    with pytest.raises(SapError, match=words):
        composer.merge(POINT | point)
    with pytest.raises(SapError, match=words):
        composer.prune(POINT | point, "art")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, "client 'art': its statistics lack a/gram"),
        ({"a/gram": torch.ones(5, 5)}, r"its a/gram must be finite and of shape \(6, 6\), got shape \(5, 5\)"),
        ({"a/gram": torch.full((6, 6), torch.nan)}, "its a/gram must be finite"),
        ({"a/gram": -torch.eye(6)}, "its a/gram must be a mean of squares, and has -1"),
    ],
)
def test_missing_and_broken_statistics_are_one_sentence(found, words):
    with pytest.raises(SapError, match=words):
        prune({"criterion": "wanda"}, make(measured=lambda point, name: found))
    with pytest.raises(SapError, match="criterion wanda needs each client's gram, which this run does not have"):
        prune({"criterion": "wanda"}, make(measured=None))
