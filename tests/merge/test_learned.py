"""LoRAHub, ZipLoRA, Expert Merging, TARA: the same steps by autograd through dense layers, limits, what they lower."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, kl_div

from sap.config import parse
from sap.factors import Factors
from sap.merge._api import METHODS
from sap.merge.lorahub import search
from sap.merge.tara import tchebycheff_slope
from sap.update import Update, stacks
from tests.merge.cohort import SHAPES, QuadraticJudge, assert_close, extras_of, make_client, make_clients, merge

CLIENTS = {name: update.to(torch.float64) for name, update in make_clients(3).items()}
FITTED = ["ziplora", "expert_merging", "tara"]


class Bending(QuadraticJudge):
    """The stand-in for the anchors, with an entropy of its own that bends, too."""

    def entropy(self, dense):
        logs = self.logits_of(self._features(dense)).log_softmax(1)
        return -(logs.exp() * logs).sum(1).mean()

    def gradients(self, update, objective="alignment"):
        if objective != "entropy":
            return super().gradients(update, objective)
        dense = {layer: update.dense(layer).detach().requires_grad_() for layer in update}
        loss = self.entropy(dense)
        return loss.item(), dict(zip(dense, torch.autograd.grad(loss, list(dense.values())), strict=True))


JUDGE = Bending(CLIENTS)


def run(name, updates=CLIENTS, judge=JUDGE, **options) -> Update:
    method = METHODS[name]
    parsed = parse(method.options, options, name)
    extras = extras_of(updates, method.needed(parsed)) | {"anchors": lambda layer: judge}
    return method.merge(stacks(updates, None, extras), parsed)


def by_autograd(start, merged, loss, steps, rate, decay):
    """{layer: ΔW} after plain AdamW steps of `start` {layer: tensor} on `loss(dense layers, parameters)`."""
    parameters = {layer: values.clone().requires_grad_() for layer, values in start.items()}
    optimiser = torch.optim.AdamW(list(parameters.values()), lr=rate, weight_decay=decay)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(merged(parameters), parameters).backward()
        optimiser.step()
    return Update({layer: delta.detach() for layer, delta in merged(parameters).items()})


def deltas(layer):
    return torch.stack([update.dense(layer) for update in CLIENTS.values()])


def features_of_clients():
    return torch.stack([JUDGE.features(update) for update in CLIENTS.values()])


@pytest.mark.parametrize("penalty", [0.0, 3.0])
def test_ziplora_takes_the_steps_of_autograd_through_the_dense_layers(penalty):
    own = features_of_clients()

    def loss(dense, columns):
        overlap = [cosine_similarity(a, b, dim=0).abs() for m in columns.values() for a, b in combinations(m, 2)]
        return (JUDGE._features(dense) - own).square().sum(-1).mean() + penalty * torch.stack(overlap).mean()

    def merged(columns):
        return {layer: (deltas(layer) * m[:, None, :]).sum(0) for layer, m in columns.items()}

    start = {layer: torch.full((3, n), 1 / 3, dtype=torch.float64) for layer, (_, n) in SHAPES.items()}
    wanted = by_autograd(start, merged, loss, steps=12, rate=0.02, decay=0.01)
    found = run("ziplora", penalty=penalty, steps=12, learning_rate=0.02)
    assert_close(found, wanted, 1e-9)


@pytest.mark.parametrize("zero_shot", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_expert_merging_takes_the_steps_of_autograd_through_the_dense_layers(zero_shot, temperature):
    own = list(features_of_clients())
    own += [JUDGE.features(CLIENTS["art"].scaled(0.0))] if zero_shot else []

    def merged(theta):
        return {layer: torch.einsum("k,kmn->mn", t.sigmoid(), deltas(layer)) for layer, t in theta.items()}

    def loss(dense, theta):
        features, total = JUDGE._features(dense), 0.0
        student = (JUDGE.logits_of(features) / temperature).log_softmax(1)
        for teacher in own:
            answers = (JUDGE.logits_of(teacher) / temperature).softmax(1)
            total = total + (features - teacher).square().sum(1).mean()
            total = total + temperature**2 * kl_div(student, answers, reduction="batchmean")
        close = torch.stack([(t.sigmoid() - 1 / 3).abs() for t in theta.values()]).mean()
        return total / len(own) + 0.4 * close

    start = {layer: torch.full((3,), 1 / 3, dtype=torch.float64).logit() for layer in SHAPES}
    wanted = by_autograd(start, merged, loss, steps=12, rate=0.05, decay=1e-5)
    found = run("expert_merging", zero_shot=zero_shot, temperature=temperature, closeness=0.4, steps=12)
    assert_close(found, wanted, 1e-9)


@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("smoothness", [1.0, 0.01])
def test_tara_takes_the_steps_of_autograd_through_the_dense_layers(variant, smoothness):
    own = torch.tensor([JUDGE.gradients(update, "entropy")[0] for update in CLIENTS.values()], dtype=torch.float64)
    parts = {}  # layer -> (s, m, n), every component of every client
    for layer in SHAPES:
        factors = [update[layer] for update in CLIENTS.values()]
        if variant == "A":
            parts[layer] = torch.cat([torch.einsum("mj,jn->jmn", f.B, f.A) for f in factors])
        else:
            U, S, Vh = torch.linalg.svd(torch.cat([f.B @ f.A for f in factors], dim=1), full_matrices=False)
            rank, n = int((1e-9 * S[0] < S).sum()), factors[0].A.shape[1]
            blocks = [Vh[:rank, k * n : (k + 1) * n] for k in range(3)]
            parts[layer] = torch.cat([torch.einsum("mj,j,jn->jmn", U[:, :rank], S[:rank], V) for V in blocks])

    def merged(phi):
        return {layer: torch.einsum("s,smn->mn", p, parts[layer]) for layer, p in phi.items()}

    def loss(dense, phi):
        return smoothness * ((JUDGE.entropy(dense) - own).abs() / 3 / smoothness).logsumexp(0)

    start = {layer: torch.full((len(part),), 1 / 3, dtype=torch.float64) for layer, part in parts.items()}
    wanted = by_autograd(start, merged, loss, steps=12, rate=0.01, decay=0.01)
    assert_close(run("tara", variant=variant, smoothness=smoothness, steps=12, learning_rate=0.01), wanted, 1e-8)


@pytest.mark.parametrize("name", FITTED)
def test_without_a_step_what_is_fitted_is_the_mean(name):
    assert_close(run(name, steps=0), merge("mean", CLIENTS), 1e-12)


def test_both_variants_of_tara_start_at_the_mean_and_part():
    a, b = (run("tara", variant=variant) for variant in "AB")
    assert_close(run("tara", variant="B", steps=0), merge("mean", CLIENTS), 1e-10)
    assert (a.dense("visual.a") - b.dense("visual.a")).norm() > 0.01 * a.dense("visual.a").norm()


@pytest.mark.parametrize("name", FITTED)
def test_one_client_is_fitted_too(name):
    alone = {"art": CLIENTS["art"]}
    assert_close(run(name, alone, steps=0), alone["art"], 1e-2)  # Expert Merging's σ reaches 1 at infinity only
    assert run(name, alone, steps=5).norm() > 0


def test_fitting_brings_the_merge_nearer_to_what_the_clients_answer():
    own = features_of_clients()

    def distance(update):
        return float((JUDGE.features(update) - own).square().sum(-1).mean())

    mean = distance(merge("mean", CLIENTS))
    assert distance(run("ziplora")) < 0.95 * mean
    assert distance(run("expert_merging", closeness=0.0)) < 0.99 * mean


def test_a_large_closeness_keeps_expert_merging_at_the_mean():
    found = run("expert_merging", closeness=1e6, learning_rate=1e-3, steps=20)
    assert_close(found, merge("mean", CLIENTS), 0.01)


def test_zero_shot_as_a_teacher_makes_the_update_smaller():
    assert run("expert_merging", zero_shot=True).norm() < run("expert_merging").norm()


def test_the_slope_of_the_smooth_maximum_is_that_of_autograd_and_sharp_ones_see_the_farthest_client_alone():
    distances = torch.tensor([0.5, -1.5, 1.0], dtype=torch.float64)
    for smoothness in (1.0, 0.1):
        entropy = torch.zeros((), dtype=torch.float64, requires_grad=True)
        (smoothness * ((entropy + distances).abs() / 3 / smoothness).logsumexp(0)).backward()
        assert tchebycheff_slope(distances, smoothness) == pytest.approx(entropy.grad.item(), rel=1e-12)
    assert tchebycheff_slope(distances, 1e-4) == pytest.approx(-1 / 3)
    assert tchebycheff_slope(torch.zeros(3, dtype=torch.float64), 1.0) == 0


# LoRAHub


def test_the_search_finds_a_small_quadratic_and_stays_inside_its_bounds():
    tries = []

    def score(weights):
        tries.append(weights)
        return float(((weights - np.array([0.4, -0.2])) ** 2).sum())

    found = search(score, 2, 1.5, 40, seed=0)
    np.testing.assert_allclose(found, [0.4, -0.2], atol=0.05)
    assert len(tries) == 40
    assert np.array_equal(tries[0], np.zeros(2))
    np.testing.assert_allclose(search(lambda w: -float(w.sum()), 2, 0.7, 40, seed=0), [0.7, 0.7], atol=0.05)


def test_lorahub_finds_the_client_that_the_anchors_like_and_its_penalty_shrinks_the_coefficients():
    judge = Bending(CLIENTS)
    judge.target = {layer: 0.6 * CLIENTS["art"].dense(layer) for layer in SHAPES}
    assert_close(run("lorahub", judge=judge, budget=80), CLIENTS["art"].scaled(0.6), 0.1)
    shrunk = run("lorahub", judge=judge, budget=80, penalty=1e4)
    assert shrunk.norm() < 0.5 * run("lorahub", judge=judge, budget=80, penalty=0.0).norm()


def test_lorahub_without_luck_is_zero_shot():
    judge = Bending(CLIENTS)
    judge.loss = lambda update: update.norm()
    assert run("lorahub", judge=judge).norm() == 0


def test_what_is_fitted_stays_low_rank():
    updates = {
        name: make_client(seed, shapes={"visual.a": (96, 80)}).to(torch.float64)
        for seed, name in enumerate(["art", "photo"])
    }
    judge = Bending(updates)
    for name in [*FITTED, "lorahub"]:
        assert isinstance(run(name, updates, judge)["visual.a"], Factors)
