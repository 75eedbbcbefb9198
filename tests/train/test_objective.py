"""Parts of the objective in closed form, in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta

from sap.clip.backbone import load_backbone
from sap.clip.lora import ADAPTER, ExactAttention, add_adapter, lora_layers
from sap.clip.options import LoraOptions
from sap.train.averaging import iterate_weight, take_iterate
from sap.train.distill import RANDOM_TOKENS, class_gap, random_texts, text_gap
from sap.train.options import DistillOptions, TrainOptions, acting
from sap.train.penalties import orthogonality, overlap
from sap.train.scaling import draw_scale, scaled_update


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def adapted(tiny_clip_folder):
    """A LoRA model in float64 whose update is not zero."""
    model = add_adapter(load_backbone(tiny_clip_folder).model, LoraOptions(rank=4), 0, "art").double()
    for number, (_, module) in enumerate(lora_layers(model)):
        b = module.lora_B[ADAPTER].weight
        b.data = 0.1 * normal(*b.shape, seed=number)
    return model


def test_the_penalty_of_a_is_the_distance_of_its_gram_from_the_identity_with_the_gradient_of_that(adapted):
    orthogonality(adapted).backward()
    total = 0.0
    for _, module in lora_layers(adapted):
        a = module.lora_A[ADAPTER].weight
        off = a.detach() @ a.detach().T - torch.eye(4, dtype=torch.float64)
        total += float((off**2).sum())
        torch.testing.assert_close(a.grad, 4 * off @ a.detach(), rtol=1e-12, atol=0)
        assert module.lora_B[ADAPTER].weight.grad is None
    assert orthogonality(adapted).item() == pytest.approx(total, rel=1e-12)


def test_rows_of_orthonormal_length_cost_nothing(adapted):
    for _, module in lora_layers(adapted):
        a = module.lora_A[ADAPTER].weight
        a.data = torch.linalg.qr(a.detach().T)[0].T
    assert orthogonality(adapted).item() == pytest.approx(0, abs=1e-24)


def test_an_update_whose_rows_are_orthogonal_to_those_of_the_weight_costs_nothing(adapted):
    assert overlap(adapted, 2.0).item() == pytest.approx(2 * overlap(adapted, 1.0).item())
    assert overlap(adapted, 1.0).item() > 1
    for _, module in lora_layers(adapted):
        base = module.get_base_layer()
        weight = base.in_proj_weight if isinstance(module, ExactAttention) else base.weight
        weight.data -= weight @ torch.linalg.pinv(module.lora_A[ADAPTER].weight) @ module.lora_A[ADAPTER].weight
    assert overlap(adapted, 1.0).item() == pytest.approx(0, abs=1e-9)


def test_the_gap_of_classes_is_a_kl_and_at_a_high_temperature_the_square_of_centred_logits():
    logits, frozen = normal(5, 7), normal(5, 7, seed=1)
    assert class_gap(frozen, frozen, 2.0).item() == pytest.approx(0, abs=1e-15)
    p, q = (each.softmax(1) for each in (frozen, logits))
    assert class_gap(logits, frozen, 1.0).item() == pytest.approx(float((p * (p / q).log()).sum()) / 5, rel=1e-12)
    change = logits - frozen
    centred = change - change.mean(dim=1, keepdim=True)
    limit = float((centred**2).sum()) / (2 * 7 * 5)
    assert class_gap(logits, frozen, 1e4).item() == pytest.approx(limit, rel=1e-3)


def test_the_gradient_of_the_gap_of_classes_is_the_difference_of_the_probabilities():
    logits, frozen = normal(5, 7).requires_grad_(), normal(5, 7, seed=1)
    class_gap(logits, frozen, 3.0).backward()
    torch.testing.assert_close(logits.grad, 3.0 * ((logits / 3).softmax(1) - (frozen / 3).softmax(1)).detach() / 5)


def test_the_gap_of_texts_is_half_the_mean_square_of_the_changes():
    features, frozen, texts = normal(5, 4), normal(5, 4, seed=1), normal(6, 4, seed=2)
    changes = [[10 * float((features[n] - frozen[n]) @ texts[m]) for m in range(6)] for n in range(5)]
    want = np.mean([sum(change**2 for change in row) / (2 * 6) for row in changes])
    assert text_gap(features, frozen, texts, torch.tensor(10.0)).item() == pytest.approx(want, rel=1e-12)


def test_random_texts_are_eight_ordinary_tokens_between_begin_and_end_and_follow_their_generator(tiny_clip_folder):
    backbone = load_backbone(tiny_clip_folder)
    tokens, again, other = (random_texts(backbone, 50, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert tokens.shape == (50, 24)
    assert set(tokens[:, 0].tolist()) == {49406}
    assert set(tokens[:, RANDOM_TOKENS + 1].tolist()) == {49407}
    inside = tokens[:, 1 : RANDOM_TOKENS + 1]
    assert inside.max() < 49406
    assert inside.float().mean().item() == pytest.approx(49405 / 2, rel=0.1)
    assert not tokens[:, RANDOM_TOKENS + 2 :].any()
    assert torch.equal(tokens, again)
    assert not torch.equal(tokens, other)


def test_a_scaled_update_scales_every_layer_ends_at_the_frozen_model_and_comes_back(adapted, tiny_clip_folder):
    pixels = normal(3, 3, 16, 16)
    model = adapted.get_base_model()
    frozen = load_backbone(tiny_clip_folder).model.double().encode_image(pixels)
    whole = model.encode_image(pixels)
    with scaled_update(adapted, 0.0):
        torch.testing.assert_close(model.encode_image(pixels), frozen)
    with scaled_update(adapted, 0.5), scaled_update(adapted, 0.5):
        quarter = model.encode_image(pixels)
    assert torch.equal(model.encode_image(pixels), whole)
    for _, module in lora_layers(adapted):
        module.lora_B[ADAPTER].weight.data *= 0.25
    torch.testing.assert_close(model.encode_image(pixels), quarter)
    assert (whole - frozen).abs().max() > 1e-3


def test_scales_are_drawn_evenly_between_low_and_one():
    drawn = [draw_scale(0.2, draw) for draw in range(500)]
    assert 0.2 <= min(drawn) < 0.21
    assert 0.99 < max(drawn) <= 1
    assert np.mean(drawn) == pytest.approx(0.6, abs=0.03)
    assert drawn[7] == draw_scale(0.2, 7)


@pytest.mark.parametrize("options", [TrainOptions(average="beta"), TrainOptions(average="swa", average_start=0.3)])
def test_a_running_average_is_the_weighted_mean_of_the_iterates(options):
    iterates, steps = [normal(3, 2, seed=seed) for seed in range(11)], 10
    average, total = {}, 0.0
    for number, iterate in enumerate(iterates):
        total = take_iterate(average, total, {"a": iterate}, iterate_weight(number, steps, options))
    places = (np.arange(11) + 0.5) / 11
    weights = beta.pdf(places, 0.5, 0.5) if options.average == "beta" else np.arange(11) >= 4
    want = sum(weight * iterate for weight, iterate in zip(weights, iterates, strict=True)) / weights.sum()
    torch.testing.assert_close(average["a"], want, rtol=1e-12, atol=1e-12)
    assert total == pytest.approx(weights.sum(), rel=1e-12)


def test_without_an_average_nothing_is_kept():
    average = {}
    assert take_iterate(average, 0.0, {"a": normal(2)}, iterate_weight(3, 10, TrainOptions())) == 0
    assert not average
    assert math.isclose(iterate_weight(0, 9, TrainOptions(average="beta")), beta.pdf(0.05, 0.5, 0.5))


def resolved(**changes):
    """A `train` section as the plan has it."""
    distill = vars(DistillOptions(**changes.pop("distill", {})))
    return {**vars(TrainOptions(**changes)), "distill": distill}


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, {}),
        ({"average_start": 0.1, "distill": {"weight": 2.0}}, {}),
        ({"distill": {"kind": "classes", "weight": 0.0}}, {}),
        ({"average": "beta", "average_start": 0.1}, {"average": "beta"}),
        ({"average": "swa", "average_start": 0.1}, {"average": "swa", "average_start": 0.1}),
        ({"random_scale": 0.0, "margin": 0.3}, {"margin": 0.3, "random_scale": 0.0}),
        ({"orthogonal": 1.0, "pego": 1.0}, {"orthogonal": 1.0, "pego": 1.0}),
        (
            {"distill": {"kind": "classes"}},
            {"distill": {"kind": "classes", "weight": 1.0, "temperature": 1.0}},
        ),
        ({"distill": {"kind": "random_texts"}}, {"distill": {"kind": "random_texts", "weight": 1.0, "texts": 80}}),
    ],
    ids=str,
)
def test_what_a_training_does_not_read_is_no_part_of_its_id(changes, left):
    optional = ("average", "average_start", "margin", "random_scale", "orthogonal", "pego", "distill")
    found = acting(resolved(**changes))
    assert {name: value for name, value in found.items() if name in optional} == left
    assert set(resolved()) - set(optional) <= set(found)
