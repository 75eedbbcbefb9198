"""The anchors' judge: its losses, gradients and logits are those of the definition, and it leaves no trace."""

import pytest
import torch

from sap.errors import SapError
from sap.saliency.anchors import AnchorLoss
from sap.saliency.gradients import alignment_gradients
from sap.update import Factors, Update

BLOCK = "visual.transformer.resblocks.0."
LAYERS = [
    BLOCK + "attn.in_proj_weight",
    BLOCK + "attn.out_proj.weight",
    BLOCK + "mlp.c_fc.weight",
    BLOCK + "mlp.c_proj.weight",
]


@pytest.fixture
def backbone(tiny_clip):
    tiny_clip.model.double()
    return tiny_clip


def make_update(model, dtype=torch.float64, scale=0.1):
    rng = torch.Generator().manual_seed(0)
    entries = {}
    for layer in LAYERS:
        m, n = model.get_parameter(layer).shape
        A, B = torch.randn(2, n, generator=rng, dtype=dtype), scale * torch.randn(m, 2, generator=rng, dtype=dtype)
        entries[layer] = Factors(A, B)
    return Update(entries)


def make_anchors(n=6, dtype=torch.float64):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, 16, 16, generator=rng, dtype=dtype), torch.randint(1, 400, (n, 24), generator=rng)


def logits_by_hand(backbone, update):
    pixels, tokens = make_anchors()
    with torch.no_grad(), update.applied(backbone.model):
        v = torch.cat([backbone.image_features(image[None]) for image in pixels])
        return backbone.model.logit_scale.exp() * v @ backbone.text_features(tokens).T


def loss_by_hand(backbone, update, objective):
    logits = logits_by_hand(backbone, update)
    if objective == "cosine":
        return (1 - (logits / backbone.model.logit_scale.exp()).diag()).mean().item()
    if objective == "entropy":
        p = logits.softmax(1)
        return -(p * p.log()).sum(1).mean().item()
    return -(logits.log_softmax(1).diag().mean() + logits.log_softmax(0).diag().mean()).item() / 2


@pytest.mark.parametrize("alignment", ["cosine", "contrastive"])
@pytest.mark.parametrize("chunk_size", [6, 4])
def test_loss_and_gradients_are_those_of_the_saliency_stage(backbone, alignment, chunk_size):
    update, (pixels, tokens) = make_update(backbone.model), make_anchors()
    judge = AnchorLoss(backbone, pixels, tokens, alignment, chunk_size)
    wanted, losses = alignment_gradients(backbone, update, pixels, tokens, alignment, "absolute_of_mean", [6])
    loss, gradients = judge.gradients(update)
    assert loss == pytest.approx(losses[6], rel=1e-12)
    assert judge.loss(update) == pytest.approx(loss_by_hand(backbone, update, alignment), rel=1e-10)
    assert set(gradients) == set(LAYERS)
    for layer in LAYERS:
        torch.testing.assert_close(gradients[layer], wanted[f"6/{layer}"])


@pytest.mark.parametrize("objective", ["alignment", "entropy"])
def test_a_gradient_equals_a_finite_difference(backbone, objective):
    update = make_update(backbone.model)
    judge = AnchorLoss(backbone, *make_anchors(), "contrastive", chunk_size=4)
    kind = "contrastive" if objective == "alignment" else objective
    loss, gradients = judge.gradients(update, objective)
    assert loss == pytest.approx(loss_by_hand(backbone, update, kind), rel=1e-10)
    rng, step = torch.Generator().manual_seed(2), 1e-6
    for layer in LAYERS:
        direction = torch.randn(update.shape(layer), generator=rng, dtype=torch.float64)
        moved = [
            loss_by_hand(backbone, Update(dict(update) | {layer: update.dense(layer) + s * direction}), kind)
            for s in (step, -step)
        ]
        slope = (moved[0] - moved[1]) / (2 * step)
        assert (gradients[layer] * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_logits_are_temperature_times_cosines_of_images_and_captions(backbone):
    update = make_update(backbone.model)
    logits = AnchorLoss(backbone, *make_anchors()).logits(update)
    torch.testing.assert_close(logits, logits_by_hand(backbone, update))
    assert logits.shape == (6, 6)


def test_factors_and_dense_updates_are_judged_alike(backbone):
    update = make_update(backbone.model)
    dense = Update({layer: update.dense(layer) for layer in update})
    judge = AnchorLoss(backbone, *make_anchors())
    assert judge.loss(dense) == pytest.approx(judge.loss(update), rel=1e-12)
    for layer, gradient in judge.gradients(dense, "entropy")[1].items():
        torch.testing.assert_close(gradient, judge.gradients(update, "entropy")[1][layer])


def test_the_root_step_is_minus_the_gradient_at_zero_shot(backbone):
    update = make_update(backbone.model)
    judge = AnchorLoss(backbone, *make_anchors())
    root = judge.root(update)
    for layer, gradient in judge.gradients(update.scaled(0.0))[1].items():
        torch.testing.assert_close(root[layer], -gradient)
    step = Update({layer: 1e-3 * tensor for layer, tensor in root.items()})
    assert judge.loss(step) < judge.loss(update.scaled(0.0))
    assert all(torch.equal(judge.root(update)[layer], root[layer]) for layer in LAYERS)


def test_the_model_is_untouched_and_the_same_call_gives_the_same_bits(tiny_clip):
    model = tiny_clip.model
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    update = make_update(model, torch.float32)
    judge = AnchorLoss(tiny_clip, *make_anchors(dtype=torch.float32), "contrastive", chunk_size=4)
    first, second = (judge.gradients(update, "entropy")[1] for _ in "ab")
    assert all(torch.equal(first[layer], second[layer]) for layer in LAYERS)
    judge.loss(update), judge.logits(update), judge.root(update)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name])
        assert not weight.requires_grad
        assert weight.grad is None


def test_impossible_requests_are_one_sentence(tiny_clip):
    judge = AnchorLoss(tiny_clip, *make_anchors(dtype=torch.float32))
    text = Update({"transformer.resblocks.0.mlp.c_fc.weight": torch.zeros(128, 32)})
    huge = make_update(tiny_clip.model, torch.float32, scale=1e37)
    for ask in (judge.loss, judge.gradients, judge.logits):
        with pytest.raises(SapError, match="visual tower only"):
            ask(text)
        with pytest.raises(SapError, match=r"anchors: .* not finite.*Lower its scale"):
            ask(huge)


def test_features_and_their_logits_are_those_of_the_model(backbone):
    update, (pixels, tokens) = make_update(backbone.model), make_anchors()
    judge = AnchorLoss(backbone, pixels, tokens, chunk_size=4)
    features = judge.features(update)
    with torch.no_grad(), update.applied(backbone.model):
        torch.testing.assert_close(features, backbone.image_features(pixels))
    torch.testing.assert_close(judge.logits_of(features), logits_by_hand(backbone, update))


@pytest.mark.parametrize("chunk_size", [6, 4])
def test_a_loss_of_ones_own_has_the_gradient_of_autograd(backbone, chunk_size):
    update, (pixels, tokens) = make_update(backbone.model), make_anchors()
    judge = AnchorLoss(backbone, pixels, tokens, chunk_size=chunk_size)
    objective = lambda features: judge.logits_of(features).square().sum() + features[:, 0].exp().mean()  # noqa: E731
    loss, gradients = judge.gradients_of(update, objective)
    with update.applied(backbone.model):
        weights = [backbone.model.get_parameter(layer).requires_grad_() for layer in LAYERS]
        value = objective(backbone.image_features(pixels))
        wanted = torch.autograd.grad(value, weights)
    assert loss == pytest.approx(value.item(), rel=1e-12)
    for layer, gradient in zip(LAYERS, wanted, strict=True):
        torch.testing.assert_close(gradients[layer], gradient)
