"""The attacker who knows the anchors: what pruning keeps of it, and what FLTrust thinks of it."""

import pytest
import torch

import sap.merge  # noqa: F401  registers the methods
from sap.attack._api import attack_updates
from sap.compose import Composer
from sap.update import Update
from tests.merge.cohort import SHAPES, assert_close, make_clients
from tests.merge.test_robust import with_root

SAP = {"criterion": "taylor_absolute", "merge": {"method": "mean"}}


def random_layers(seed) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {layer: torch.randn(shape, generator=rng) for layer, shape in SHAPES.items()}


TARGET, NO_ROOT = random_layers(1), {layer: torch.zeros(shape) for layer, shape in SHAPES.items()}


def gradients(update) -> dict[str, torch.Tensor]:
    """Of half the squared distance to a target: it depends on the update."""
    return {layer: update.dense(layer) - TARGET[layer] for layer in SHAPES}


def root_between(updates, *clients) -> dict[str, torch.Tensor]:
    """A root that some of the clients agree with, and noise."""
    noise = random_layers(2)
    agreed = {layer: sum(updates[client].dense(layer) for client in clients) for layer in SHAPES}
    return {layer: 0.3 * agreed[layer] + noise[layer] for layer in SHAPES}


def attack(updates, root=NO_ROOT, **options) -> Update:
    return attack_updates("adaptive", options, updates, ("art",), 0, gradients, lambda: root)["art"]


def cosine(update, root) -> float:
    root = Update(root)
    return update.inner(root) / (update.norm() * root.norm())


def kept_by_sap(update, ratio) -> Update:
    point = SAP | {"prune_ratio": ratio}
    return Composer({"art": update}, gradients=lambda point, client: gradients(update)).prune(point, "art")


def test_it_stands_on_the_largest_scores_with_the_norm_of_the_negated_update():
    updates = make_clients(4)
    found = attack(updates, keep=0.25, strength=2.0, iterations=1)
    harm = updates["art"].scaled(-2.0)
    for layer, (m, n) in SHAPES.items():
        score = (harm.dense(layer) * gradients(harm)[layer]).abs()
        mask = score >= score.flatten().topk(m * n // 4).values.min()
        expected = mask * harm.dense(layer)
        expected *= harm.dense(layer).norm() / expected.norm()
        assert torch.allclose(found.dense(layer), expected, rtol=1e-5, atol=1e-6)


def test_every_iteration_scores_at_the_update_that_the_last_one_left():
    updates = make_clients(4)
    asked = []

    def remember(update):
        asked.append(update)
        return gradients(update)

    options = {"iterations": 3, "keep": 0.2}
    found = attack_updates("adaptive", options, updates, ("art",), 0, remember, lambda: NO_ROOT)["art"]
    assert len(asked) == 3
    assert_close(asked[1], attack(updates, iterations=1, keep=0.2))
    assert_close(asked[2], attack(updates, iterations=2, keep=0.2))
    assert_close(found, attack(updates, **options))


@pytest.mark.parametrize("root", [NO_ROOT, random_layers(7)], ids=["no root", "root"])
@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_pruning_keeps_all_of_it_and_little_of_the_plain_negation(ratio, root):
    updates = make_clients(4)
    found = attack(updates, root, keep=round(1 - ratio, 3))
    assert_close(kept_by_sap(found, ratio), found)
    plain = updates["art"].scaled(-1.0)
    assert kept_by_sap(plain, ratio).norm() < 0.98 * plain.norm()


@pytest.mark.parametrize("keep", [0.1, 1.0])
def test_it_is_trusted_as_much_as_the_least_trusted_honest_client(keep):
    updates = make_clients(4)
    root = root_between(updates, "cartoon", "photo", "sketch")
    before = cosine(attack(updates, keep=keep), root)
    honest = min(c for client in ("cartoon", "photo", "sketch") if (c := cosine(updates[client], root)) > 0)
    found = attack(updates, root, keep=keep)
    assert before < honest
    assert cosine(found, root) == pytest.approx(honest, abs=1e-5)
    assert found.norm() == pytest.approx(updates["art"].norm(), rel=1e-5)
    assert found.inner(updates["art"]) < 0


def test_fltrust_lets_it_in_where_the_plain_negation_is_shut_out():
    updates = make_clients(4)
    root = root_between(updates, "art", "cartoon", "photo", "sketch")
    honest = {client: update for client, update in updates.items() if client != "art"}
    clean = with_root("fltrust", honest, root, norm="root")
    plain = with_root("fltrust", updates | {"art": updates["art"].scaled(-1.0)}, root, norm="root")
    assert_close(plain, clean)
    adaptive = with_root("fltrust", updates | {"art": attack(updates, root)}, root, norm="root")
    assert (adaptive + clean.scaled(-1.0)).norm() > 0.05 * clean.norm()


def test_an_update_that_is_trusted_already_is_left_alone():
    updates = make_clients(4)
    root = {layer: -updates["art"].dense(layer) for layer in SHAPES}
    assert_close(attack(updates, root), attack(updates))


def test_where_nobody_is_trusted_it_is_tilted_to_a_right_angle():
    updates = make_clients(2)
    root = {layer: updates["art"].dense(layer) - updates["cartoon"].dense(layer) for layer in SHAPES}
    assert cosine(updates["cartoon"], root) < 0
    assert cosine(attack(updates, root), root) == pytest.approx(0, abs=1e-5)


def test_kept_entries_that_hold_too_little_of_the_root_are_not_the_limit():
    updates = make_clients(2)
    root = {layer: updates["cartoon"].dense(layer) for layer in SHAPES}  # the honest client is the root
    found = attack(updates, root, keep=0.01)
    assert cosine(found, root) > 0.999
    assert found.norm() == pytest.approx(updates["art"].norm(), rel=1e-5)
