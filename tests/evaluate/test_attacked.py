"""Merges under attack: who sends what, which weight it gets, and what a mask keeps of it."""

import pytest
import torch

from sap.compose import Composer
from sap.errors import SapError
from sap.evaluate.attacked import Scenarios
from sap.factors import Factors
from sap.io import canonical
from sap.update import Update
from tests.made_plans import made_fold

LAYERS = {"first": (6, 5), "second": (4, 6)}
POISON = {"kind": "derangement", "fraction": 1.0, "seed": 0}
CLEAN = {"kind": "merge", "criterion": "none", "merge": {"method": "mean"}, "scale": 1.0}


def update(seed: int, rank: int = 2) -> Update:
    draw = torch.Generator().manual_seed(seed)
    return Update(
        {
            name: Factors(torch.randn(rank, n, generator=draw), torch.randn(m, rank, generator=draw))
            for name, (m, n) in LAYERS.items()
        }
    )


HONEST = {name: update(seed) for seed, name in enumerate("abc")}
POISONED = update(9)


@pytest.fixture
def scenarios():
    def compose(replaced, weights):
        return Composer({**HONEST, **replaced}, weights or dict.fromkeys(HONEST, 10))

    poisoned = {"b": {canonical(POISON): "poisoned b"}, "a": {}, "c": {}}
    plan = made_fold(clients=dict.fromkeys(HONEST, ""), poisoned=poisoned)
    loaded = {"poisoned b": POISONED}
    return Scenarios(plan, HONEST, compose, loaded.__getitem__, lambda: None)


def attacked(**settings):
    return {**CLEAN, "attack": POISON, "attackers": ["b"], **settings}


def dense(found: Update) -> torch.Tensor:
    return torch.cat([found.dense(layer).flatten() for layer in LAYERS])


def test_the_poisoned_upload_takes_its_clients_place(scenarios):
    expected = (dense(HONEST["a"]) + dense(POISONED) + dense(HONEST["c"])) / 3
    assert torch.allclose(dense(scenarios.merge(attacked())), expected, atol=1e-6)
    assert torch.equal(dense(scenarios.client(attacked(kind="client", client="b"))), dense(POISONED))


def test_a_clean_point_after_an_attacked_one_is_untouched(scenarios):
    clean = dense(scenarios.merge(CLEAN))
    scenarios.merge(attacked())
    assert torch.equal(dense(scenarios.merge(CLEAN)), clean)
    assert torch.allclose(clean, sum(map(dense, HONEST.values())) / 3, atol=1e-6)


def test_the_mean_gives_the_attacker_one_share_in_k(scenarios):
    facts = scenarios.facts(attacked(), scenarios.merge(attacked()))
    assert facts["attacker_weight"] == pytest.approx(1 / 3, abs=1e-5)
    honest = (HONEST["a"].norm() + HONEST["c"].norm()) / 2
    assert facts["attacker_norm"] == pytest.approx(POISONED.norm() / honest)


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.7, 1.0])
def test_the_weight_of_the_attacker_is_what_the_point_says(scenarios, weight):
    settings = attacked(merge={"method": "weighted_mean"}, attacker_weight=weight)
    merged = scenarios.merge(settings)
    expected = weight * dense(POISONED) + (1 - weight) * (dense(HONEST["a"]) + dense(HONEST["c"])) / 2
    assert torch.allclose(dense(merged), expected, atol=1e-5)
    assert scenarios.facts(settings, merged)["attacker_weight"] == pytest.approx(weight, abs=1e-4)


def test_attacks_on_updates_are_made_from_what_the_clients_sent(scenarios):
    settings = attacked(attack={"kind": "sign_flip", "strength": 1.0})
    expected = (dense(HONEST["a"]) - dense(HONEST["b"]) + dense(HONEST["c"])) / 3
    assert torch.allclose(dense(scenarios.merge(settings)), expected, atol=1e-6)


def test_whatever_the_attack_an_upload_is_an_adapter_of_everybodys_rank(scenarios):
    for kind in ("gaussian", "alie", "inner_product", "min_max"):
        (sent,) = scenarios.attackers(attacked(attack={"kind": kind})).values()
        assert all(isinstance(sent[layer], Factors) and sent[layer].A.shape[0] <= 2 for layer in LAYERS)
        merged = scenarios.merge(attacked(attack={"kind": kind}, merge={"method": "product_of_means"}))
        assert torch.isfinite(dense(merged)).all()


def test_a_mask_per_client_and_layer_keeps_as_many_entries_of_the_attacker_as_of_the_others(scenarios):
    settings = attacked(criterion="magnitude", prune_ratio=0.5, rescale="frobenius", space="delta")
    facts = scenarios.facts(settings, scenarios.merge(settings))
    assert facts["attacker_kept"][0] == facts["honest_kept"][0] == 0.5
    assert 0.5 < facts["attacker_kept"][1] < 1  # the large half holds most of the energy


def test_a_weight_needs_somebody_who_does_not_attack(scenarios):
    everyone = attacked(
        attack={"kind": "sign_flip"}, attackers=["a", "b", "c"], attacker_weight=0.5, merge={"method": "weighted_mean"}
    )
    with pytest.raises(SapError, match="needs a client that does not attack"):
        scenarios.merge(everyone)
