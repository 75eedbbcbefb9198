"""Golden cases of averages and task vectors, through the Composer."""

from collections.abc import Callable
from functools import partial
from math import sqrt

import pytest
import torch

from sap.compose import Composer
from sap.update import Factors, Update
from tests.golden import golden
from tests.golden.golden import clients, layers, needs_golden

pytestmark = needs_golden

SHARES = [0.1, 0.25, 0.05, 0.6]


def merged(method: str, numbers=range(4), shared_a=False, counts=None, scale=1.0, **options) -> Update:
    updates = clients(numbers, shared_a=shared_a)
    composer = Composer(updates, counts and dict(zip(updates, counts, strict=True)))
    return composer.merge({"merge": {"method": method, **options}, "scale": scale})


def weighted_negative() -> Update:
    """No method takes negative weights: 1, 1, 1, −1/2."""
    total = merged("sum", (0, 1, 2), scale=1 / 0.3)  # the method's own scale is 0.3
    return total + clients((3,))["client3"].scaled(-0.5)


def peft_linear_negative() -> Update:
    """peft puts √|w| on both factors and the sign on A; a product of sums is K² times that of means."""
    weighted = {}
    for (client, update), weight in zip(clients().items(), [0.5, 0.5, 0.5, -0.25], strict=True):
        root, sign = sqrt(abs(weight)), 1 if weight > 0 else -1
        weighted[client] = Update({layer: Factors(sign * root * A, root * B) for layer, (A, B) in update.items()})
    return Composer(weighted).merge({"merge": {"method": "product_of_means"}, "scale": 16.0})


def magnitude_factors() -> Update:
    """peft with w = 1/K puts √w on each factor, so K times the product of means."""
    point = {"criterion": "magnitude", "space": "factors", "prune_ratio": 0.5, "merge": {"method": "product_of_means"}}
    return Composer(clients()).merge(point | {"scale": 4.0})


CASES: dict[str, Callable[[], Update]] = {
    "weighted_negative": weighted_negative,
    "peft_linear_negative": peft_linear_negative,
    "fedex_residual": lambda: merged("mean") + merged("product_of_means").scaled(-1.0),
    "flora_stacking": partial(merged, "stacking", counts=SHARES, weights="samples"),
    "ffa_shared_A_mean": partial(merged, "stacking", shared_a=True),
    "ffa_shared_A_linear": partial(merged, "product_of_means", shared_a=True),
    "ties_factors_d0.5": partial(merged, "ties_factors", density=0.5),  # w = 1: the scale is peft's
    "magnitude_d0.2_mean": partial(merged, "magnitude", density=0.2),
    "magnitude_d0.5_mean": partial(merged, "magnitude", density=0.5),
    "magnitude_factors_d0.5": magnitude_factors,
    "dare_linear_p0": partial(merged, "dare", drop=0.0),
    "dare_ties_p0_mean": partial(merged, "dare_ties", drop=0.0),
    "dare_ties_p0_sum": partial(merged, "dare_ties", drop=0.0, average="sum"),
    "della_density1": partial(merged, "della", density=1.0),
    "della_linear_density1": partial(merged, "della_linear", density=1.0, average="sum"),
    **{
        f"breadcrumbs_d{density}_g{gamma}": partial(merged, "breadcrumbs", density=density, gamma=gamma, average="sum")
        for density, gamma in ((0.9, 0.01), (0.7, 0.1), (0.5, 0.1), (0.95, 0.1))
    },
    "breadcrumbs_ties_d0.7_g0.1": partial(merged, "breadcrumbs_ties", density=0.7, gamma=0.1, average="sum"),
    "model_stock_layer": partial(merged, "model_stock"),
    "model_stock_angle_mean": partial(merged, "model_stock", average="angles"),
    "model_stock_2clients": partial(merged, "model_stock", (0, 1)),
    "model_stock_filter": partial(merged, "model_stock", unit="row"),
    **{f"sce_top{share}": partial(merged, "sce", select_topk=share) for share in (1.0, 0.5, 0.2)},
    **{f"slerp_t{t}": partial(merged, "slerp", (0, 1), t=t) for t in (0.5, 0.3)},
    "nuslerp_w1_3": partial(merged, "nuslerp", (0, 1), counts=[1, 3], weights="samples"),
    "nuslerp_rowwise_w1_3": partial(merged, "nuslerp", (0, 1), counts=[1, 3], weights="samples", unit="row"),
    "nuslerp_colwise_w1_3": partial(merged, "nuslerp", (0, 1), counts=[1, 3], weights="samples", unit="column"),
    "multislerp_uniform": partial(merged, "multislerp"),
    "karcher_10it": partial(merged, "karcher"),
    "emr_unified": partial(merged, "emr"),
    # theirs is 0.3 of the sum
    "consensus_ta_l0.4_k2": partial(merged, "consensus", scale=1.2),
    "consensus_ta_l0.6_k2": partial(merged, "consensus", scale=0.3, tall_lambda=0.6, average="sum"),
}


@pytest.mark.parametrize("case_id", CASES)
def test_a_method_gives_the_golden_tensors(case_id):
    golden.check(case_id, CASES[case_id]())


# Statistical cases say what holds over many draws
DARE = {"dare_linear_p0.2": 0.2, "dare_linear_p0.5": 0.5, "dare_linear_p0.9": 0.9}
DELLA = "della_keep_probability"


def draws(method: str, updates: dict[str, Update], number: int, **options) -> torch.Tensor:
    """Results of one layer for `number` random draws, (number, m, n)."""
    layer = layers()[0]
    composer = Composer({client: Update({layer: update[layer]}) for client, update in updates.items()})
    points = ({"merge": {"method": method, "draw": draw, **options}} for draw in range(number))
    return torch.stack([composer.merge(point).dense(layer).double() for point in points])


@pytest.mark.parametrize("case_id", DARE)
def test_dare_has_the_mean_the_variance_and_the_density_of_the_golden_case(case_id):
    case, drop, number, layer = golden.cases()[case_id], DARE[case_id], 400, layers()[0]
    found = draws("dare", clients(), number, drop=drop)
    deltas = torch.stack([update.dense(layer).double() for update in clients().values()])
    variance = ((deltas / 4) ** 2).sum(0) * drop / (1 - drop)
    z = (found.mean(0) - golden.expected()[f"{case['tensors']}.{layer}"].double()) / (variance / number).sqrt()
    assert 0.9 < float((z**2).mean().sqrt()) < 1.1
    assert float(z.abs().max()) < 5
    assert float((found.var(0) / variance).mean()) == pytest.approx(1, abs=0.02)
    density = float((draws("dare", clients((0,)), 100, drop=drop) != 0).double().mean())
    assert density == pytest.approx(case["kept_fraction_expected"], abs=0.005)


def test_della_keeps_entries_with_the_probability_of_the_golden_case():
    case, number = golden.cases()[DELLA], 1000
    density, epsilon = case["options"]["density"], case["options"]["epsilon"]
    delta = clients((0,))["client0"].dense(layers()[0])
    found = draws("della", clients((0,)), number, density=density, epsilon=epsilon, rescale="l1")
    rank = delta.abs().argsort(dim=1).argsort(dim=1).double()
    probability = density - epsilon + 2 * epsilon * rank / (delta.shape[1] - 1)
    frequency = (found != 0).double().mean(0)
    z = (frequency - probability) / (probability * (1 - probability) / number).sqrt()
    assert 0.9 < float((z**2).mean().sqrt()) < 1.1
    assert float(z.abs().max()) < 5
    norms = found.abs().sum((1, 2)) / delta.double().abs().sum()
    assert norms.tolist() == pytest.approx([1] * number, abs=1e-6)
