"""Attacks on updates: closed forms, what holds for all of them, and what is refused."""

import itertools
import math
import zlib
from dataclasses import dataclass

import pytest
import torch

from sap.attack import _api
from sap.attack._api import ATTACK_NEEDS, ATTACKS, attack_updates, describe
from sap.attack.alie import largest_hidden
from sap.errors import SapError
from sap.factors import Factors
from sap.update import Update
from tests.merge.cohort import SHAPES, assert_close, make_client, make_clients

ON_UPDATES = [name for name, entry in ATTACKS.items() if entry.function]
LINEAR = ["sign_flip", "scaling", "inner_product", "mimic", "min_max", "min_sum"]
DEVIATIONS = ("unit", "std", "sign")


def random_layers(name) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return {layer: torch.randn(shape, generator=rng) for layer, shape in SHAPES.items()}


def attacked(name, updates, attackers=("art",), seed=0, **options) -> dict[str, Update]:
    """Attack with a gradient that is the same everywhere, and a root."""
    gradients, root = random_layers("gradient"), random_layers("root")
    return attack_updates(name, options, updates, attackers, seed, lambda update: gradients, lambda: root)


def points(*rows) -> dict[str, Update]:
    """Clients c0, c1, ... with a few weights in one layer."""
    return {f"c{k}": Update({"w": torch.tensor([row], dtype=torch.float64)}) for k, row in enumerate(rows)}


def sent(name, updates, attackers=("c0",), **options) -> list[float]:
    return attack_updates(name, options, updates, attackers, 0)[attackers[0]]["w"].flatten().tolist()


def flat(updates) -> torch.Tensor:
    return torch.stack([torch.cat([u.dense(layer).flatten() for layer in u]) for u in updates]).double()


@pytest.mark.parametrize("name", ON_UPDATES)
def test_only_the_attackers_upload_changes_and_no_input_does(name):
    updates = make_clients(4)
    before = {client: [tensor.clone() for entry in u.values() for tensor in entry] for client, u in updates.items()}
    result = attacked(name, updates, ("cartoon",))
    assert list(result) == list(updates)
    assert all(result[client] is updates[client] for client in updates if client != "cartoon")
    assert {layer: result["cartoon"].shape(layer) for layer in result["cartoon"]} == SHAPES
    for client, update in updates.items():
        after = [tensor for entry in update.values() for tensor in entry]
        assert all(torch.equal(a, b) for a, b in zip(before[client], after, strict=True))


@pytest.mark.parametrize("name", ON_UPDATES)
def test_the_order_of_clients_and_attackers_does_not_matter(name):
    updates = make_clients(6)
    first = attacked(name, updates, ("photo", "clip"))
    second = attacked(name, dict(reversed(updates.items())), ("clip", "photo"))
    for client in ("photo", "clip"):
        assert_close(second[client], first[client], 1e-5)


@pytest.mark.parametrize("name", ON_UPDATES)
def test_what_is_sent_grows_with_the_uploads(name):
    updates = make_clients(4)
    larger = {client: update.scaled(8.0) for client, update in updates.items()}
    assert_close(attacked(name, larger)["art"], attacked(name, updates)["art"].scaled(8.0), 1e-5)


@pytest.mark.parametrize("name", ON_UPDATES)
def test_factors_and_dense_updates_give_the_same(name):
    updates = make_clients(4)
    dense = {client: Update({layer: u.dense(layer) for layer in u}) for client, u in updates.items()}
    found = attacked(name, updates)["art"]
    assert_close(attacked(name, dense)["art"], found, 1e-4)
    low_rank = all(isinstance(entry, Factors) for entry in found.values())
    assert low_rank == (name in LINEAR)


@pytest.mark.parametrize("name", ON_UPDATES)
def test_one_honest_client_is_enough(name):
    result = attacked(name, make_clients(2))["art"]
    assert all(torch.isfinite(result.dense(layer)).all() for layer in SHAPES)


@pytest.mark.parametrize("name", ON_UPDATES)
def test_colluders_send_one_update_and_the_others_their_own(name):
    result = attacked(name, make_clients(5), ("art", "photo"))
    same = all(torch.equal(result["art"].dense(layer), result["photo"].dense(layer)) for layer in SHAPES)
    assert same == ATTACKS[name].colludes


@pytest.mark.parametrize("name", ON_UPDATES)
def test_draws_depend_on_seed_and_attacker_alone(name):
    updates = make_clients(4)
    once, again, other = (attacked(name, updates, seed=seed)["art"] for seed in (1, 1, 2))
    assert all(torch.equal(once.dense(layer), again.dense(layer)) for layer in SHAPES)
    same = all(torch.equal(once.dense(layer), other.dense(layer)) for layer in SHAPES)
    assert same == ("rng" not in ATTACKS[name].needs)


def test_an_attack_gets_what_it_declared_and_nothing_else(monkeypatch):
    monkeypatch.setattr(ATTACKS, "_entries", {})
    seen = {}

    @dataclass(frozen=True)
    class Nothing:
        """No options."""

    @_api.attack("spy", citation="none", options=Nothing)
    def spy(own, honest, options, extras):
        seen.update(honest=honest, extras=extras)
        return own

    attacked("spy", make_clients(4), ("art", "photo"))
    assert seen["honest"] == {}
    extras = seen["extras"]
    assert (extras.rng, extras.gradient, extras.root) == (None, None, None)
    assert (extras.n_clients, extras.n_attackers) == (4, 2)


# Closed forms: two honest clients (1, 3) and (5, 3), the attacker's own (2, -1).
OWN, HONEST = (2.0, -1.0), ((1.0, 3.0), (5.0, 3.0))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("sign_flip", {}, [-2.0, 1.0]),
        ("sign_flip", {"strength": 3.0}, [-6.0, 3.0]),
        ("scaling", {}, [6.0, -3.0]),  # three clients, one attacker
        ("scaling", {"strength": 0.5}, [1.0, -0.5]),
        ("inner_product", {}, [-6.0, -6.0]),
        ("inner_product", {"strength": 0.5}, [-1.5, -1.5]),
        ("alie", {"z": 1.0}, [3 - math.sqrt(8), 3.0]),  # deviations of 2 on both sides, over n - 1 = 1
        ("alie", {"z": -0.5}, [3 + math.sqrt(2), 3.0]),
        ("mimic", {"client": "c2"}, [5.0, 3.0]),
        ("mimic", {}, [5.0, 3.0]),  # they differ along the first axis, where c2 lies farther
        # the bound is 16 between the two, (3 - g)² terms: std shifts the first axis only, (2 + √8 g)² = 16
        ("min_max", {"deviation": "std"}, [1.0, 3.0]),
        # 2 · 4 + 2 · 8 g² = 16
        ("min_sum", {"deviation": "std"}, [3 - math.sqrt(4), 3.0]),
        # (2 + g)² + g² = 16 from (5, 3)
        ("min_max", {"deviation": "sign"}, [4 - math.sqrt(7), 4 - math.sqrt(7)]),
        # 2 · 4 + 2 · 2 g² = 16
        ("min_sum", {"deviation": "sign"}, [3 - math.sqrt(2), 3 - math.sqrt(2)]),
        # the unit vector is the sign over √2, and so is its shift
        ("min_max", {"deviation": "unit"}, [4 - math.sqrt(7), 4 - math.sqrt(7)]),
        ("min_sum", {"deviation": "unit"}, [3 - math.sqrt(2), 3 - math.sqrt(2)]),
    ],
)
def test_hand_worked_cases(name, options, expected):
    assert sent(name, points(OWN, *HONEST), **options) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        # what ByzFL 0.0.11 gives for its own example (1, 2, 3), (4, 5, 6), (7, 8, 9), signs as in this project
        ("inner_product", {"strength": 1.0}, [-4.0, -5.0, -6.0]),  # its SignFlipping
        ("inner_product", {"strength": 2.0}, [-8.0, -10.0, -12.0]),
        ("alie", {"z": -1.5}, [8.5, 9.5, 10.5]),
        ("mimic", {"client": "c1"}, [1.0, 2.0, 3.0]),
    ],
)
def test_the_values_of_byzfl(name, options, expected):
    updates = points((0.0, 0.0, 0.0), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7.0, 8.0, 9.0))
    assert sent(name, updates, **options) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("n", "f", "z"),
    [
        (50, 24, 1.4260768722728472),  # the paper's setting: Φ⁻¹(24/26)
        (7, 3, 0.6744897501960817),  # s = 1: Φ⁻¹(3/4)
        (4, 1, 1.5),  # Φ⁻¹(1/3) is negative
        (10, 2, 1.5),  # Φ⁻¹(1/2) is zero
        (2, 1, 1.5),
        (3, 2, 1.5),  # the attackers are the majority
    ],
)
def test_the_spread_that_hides_is_the_papers_where_it_is_positive(n, f, z):
    assert largest_hidden(n, f) == pytest.approx(z, abs=1e-12)


def test_alie_counts_clients_and_attackers():
    values = [(float(k),) for k in range(7)]
    honest = torch.tensor(values[3:], dtype=torch.float64)
    expected = honest.mean() - 0.6744897501960817 * honest.std()
    assert sent("alie", points(*values), ("c0", "c1", "c2")) == pytest.approx([float(expected)])


def test_the_mean_holds_scaled_attackers_in_full():
    updates = points((2.0,), (4.0,), (0.0,), (0.0,), (0.0,))
    result = attack_updates("scaling", {}, updates, ("c0", "c1"), 0)
    assert sum(float(update["w"]) for update in result.values()) / 5 == pytest.approx(3.0)


def test_noise_has_the_honest_means_norm_in_every_layer_and_no_direction():
    updates = make_clients(4)
    honest = [updates[client] for client in ("cartoon", "photo", "sketch")]
    noise = attacked("gaussian", updates, strength=2.0)["art"]
    mean = Update({layer: sum(u.dense(layer) for u in honest) / 3 for layer in SHAPES})
    for layer in SHAPES:
        assert noise.norms()[layer] == pytest.approx(2 * mean.norms()[layer], rel=1e-5)
        assert noise.dense(layer).dtype == mean.dense(layer).dtype
        entries = noise.dense(layer).flatten()
        assert abs(entries.mean() / entries.std()) < 4 / math.sqrt(len(entries))
    assert abs(noise.inner(mean)) < 0.25 * noise.norm() * mean.norm()


def test_mimic_copies_the_client_farthest_along_the_principal_direction():
    honest = {f"c{k}": make_client(k, scale=4.0 if k == 3 else 1.0) for k in range(1, 6)}
    rows = flat(honest.values())
    direction = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh[0]
    expected = list(honest)[int((rows @ direction).abs().argmax())]
    result = attacked("mimic", {"c0": make_client(0)} | honest, ("c0",))["c0"]
    assert result is honest[expected]


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("name", ["min_max", "min_sum"])
def test_the_shift_reaches_the_bound_and_no_farther(name, deviation):
    updates = make_clients(6)
    honest = flat([update for client, update in updates.items() if client != "art"])
    malicious = flat([attacked(name, updates, deviation=deviation)["art"]])[0]
    table = torch.cdist(honest, honest) ** 2
    away = ((honest - malicious) ** 2).sum(1)
    found, bound = (away.max(), table.max()) if name == "min_max" else (away.sum(), table.sum(1).max())
    assert float(found) == pytest.approx(float(bound), rel=1e-4)
    mean = honest.mean(0)
    onward = mean + 1.01 * (malicious - mean)
    beyond = ((honest - onward) ** 2).sum(1)
    assert (beyond.max() if name == "min_max" else beyond.sum()) > bound
    directions = {"unit": -mean, "std": -honest.std(0), "sign": -mean.sign()}
    cosine = torch.cosine_similarity(malicious - mean, directions[deviation], dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("name", "deviation"), itertools.product(["min_max", "min_sum"], DEVIATIONS))
def test_equal_honest_clients_leave_no_room_to_hide(name, deviation):
    same = points((9.0, 9.0), (1.0, -2.0), (1.0, -2.0), (1.0, -2.0))
    assert sent(name, same, deviation=deviation) == pytest.approx([1.0, -2.0], abs=1e-6)


def test_registrations_say_who_acts_on_what_and_needs_which():
    found = describe()
    labels = {name for name, entry in found.items() if entry["acts_on"] == "labels"}
    assert labels == {"uniform", "derangement", "single", "backdoor"}
    assert found["backdoor"]["options"]["properties"]["fraction"]["default"] == 0.5
    assert found["adaptive"]["needs"] == ["gradient", "honest", "root"]
    for name, entry in found.items():
        assert entry["summary"].endswith("."), name
        assert entry["module"].startswith("sap.attack."), name
        assert set(entry["needs"]) <= set(ATTACK_NEEDS), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "sign_flop"}, "unknown attack 'sign_flop'. Did you mean 'sign_flip'"),
        ({"attackers": ("art", "foto")}, "attackers: unknown client 'foto'. Did you mean 'photo'"),
        ({"attackers": ("art", "cartoon", "photo")}, "attack.sign_flip: all 3 clients attack"),
        ({"name": "derangement"}, "attack.derangement acts on labels"),
        ({"options": {"strength": -1.0}}, "attack.sign_flip.strength must be above 0"),
        ({"options": {"power": 1.0}}, "unknown key 'power'"),
        ({"options": {"strength": 1e39}}, "layer visual.a of attacker 'art' holds NaN or Inf. Lower its strength"),
        ({"name": "adaptive"}, "attack.adaptive needs gradient, which this run does not have"),
        ({"name": "mimic", "options": {"client": "art"}}, "attack.mimic.client: unknown honest client 'art'"),
    ],
)
def test_impossible_requests_are_one_sentence(change, words):
    call = {"name": "sign_flip", "options": {}, "updates": make_clients(3), "attackers": ("art",), "seed": 0} | change
    with pytest.raises(SapError, match=words):
        attack_updates(**call)


def test_a_declared_need_must_exist():
    with pytest.raises(TypeError, match="needs must be among"):
        _api.attack("wrong", citation="none", options=object, needs={"fisher"})
