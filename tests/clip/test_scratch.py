"""Contrastive pretraining: its loss, its repeatability, and that it learns."""

import math
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch

from sap.clip.checkpoint import build_model
from sap.clip.options import ScratchOptions
from sap.clip.scratch import MEAN, STD, contrastive_loss, noisy_captions, pretrain, scratch_config
from sap.errors import SapError
from sap.io import seed_of

TINY = ScratchOptions(
    width=32,
    layers=1,
    text_layers=1,
    head_width=16,
    embed_dim=16,
    steps=40,
    batch_size=32,
    warmup=4,
    learning_rate=3e-3,
)


def corpus(n=128):
    """Bright and dark images with captions that say so."""
    labels = np.arange(n) % 2
    images = np.random.default_rng(0).integers(0, 60, (n, 16, 16, 3), np.uint8)
    images[labels == 1] += 150
    return images, [("a dark one.", "a bright one.")[label] for label in labels], labels


def test_the_loss_equals_the_loss_on_all_pairs_with_equal_captions_as_positives():
    generator = torch.Generator().manual_seed(0)
    column_of = torch.tensor([0, 1, 1, 2, 1, 0])
    images = torch.nn.functional.normalize(torch.randn(6, 8, generator=generator), dim=1)
    texts = torch.nn.functional.normalize(torch.randn(3, 8, generator=generator), dim=1)
    logits = 7.0 * images @ texts[column_of].T  # (6, 6), with copies
    positive = (column_of[:, None] == column_of).float()
    target = positive / positive.sum(1, keepdim=True)
    by_rows = -(target * logits.log_softmax(1)).sum(1).mean()
    by_columns = -(target * logits.log_softmax(0)).sum(0).mean()
    loss = contrastive_loss(images, texts, column_of, torch.tensor(7.0))
    torch.testing.assert_close(loss, (by_rows + by_columns) / 2)


def test_pretraining_learns_and_repeats_bit_for_bit():
    one, log = pretrain(*corpus(), TINY)
    two, _ = pretrain(*corpus(), TINY)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert log[-1]["step"] == TINY.steps
    assert log[-1]["logit_scale"] <= 100
    tokens = open_clip.SimpleTokenizer(context_length=one.context_length)(["a dark one.", "a bright one."])
    images, _, labels = corpus()
    pixels = (torch.from_numpy(images).float() / 255 - 0.5).div(0.25).permute(0, 3, 1, 2)
    features = one.encode_text(tokens, normalize=True)
    assert ((one.encode_image(pixels) @ features.T).argmax(1).numpy() == labels).mean() > 0.95


def test_the_whole_vocabulary_is_in_the_result():
    model, _ = pretrain(*corpus(), TINY)
    assert model.token_embedding.weight.shape == (49408, 32)


def test_caption_noise_names_wrong_classes_only():
    _, captions, labels = corpus()
    noisy = noisy_captions(captions, labels, 0.25, seed=0)
    changed = noisy != np.asarray(captions)
    assert changed.sum() == 32
    assert np.array_equal(noisy_captions(captions, labels, 0.0, seed=0), captions)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 1e9}, r"loss became \w+ by step .* Lower backbone\.scratch\.learning_rate"),
        ({"patch_size": 32}, r"patch_size must be at most the image side 16, was 32"),
    ],
)
def test_a_pretraining_that_cannot_work_is_one_sentence(change, words):
    with pytest.raises(SapError, match=words):
        pretrain(*corpus(), replace(TINY, **change))


def pretrained_by_hand(images, captions, options):
    """The same pretraining with the whole vocabulary and all pairs, in plain torch; its start is the library's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("scratch", options.seed))
        model = build_model(scratch_config(options, 16), "by hand").train()
    tokens = open_clip.SimpleTokenizer(context_length=model.context_length)(captions)
    names = dict(model.named_parameters())
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in names.items()}
    draws, order = torch.Generator().manual_seed(seed_of("scratch-order", options.seed)), []
    for step in range(1, options.steps + 1):
        while len(order) < options.batch_size:
            order += torch.randperm(len(images), generator=draws).tolist()
        rows, order = order[: options.batch_size], order[options.batch_size :]
        pixels = ((torch.from_numpy(images[rows]) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
        seen, said = model.encode_image(pixels, normalize=True), model.encode_text(tokens[rows], normalize=True)
        logits = model.logit_scale.exp() * seen @ said.T
        alike = torch.tensor([[captions[a] == captions[b] for b in rows] for a in rows]).float()
        wanted = alike / alike.sum(1, keepdim=True)
        loss = -((wanted * logits.log_softmax(1)).sum(1).mean() + (wanted * logits.log_softmax(0)).sum(0).mean()) / 2
        gradients = torch.autograd.grad(loss, list(names.values()))
        rising, left = options.warmup, options.steps - options.warmup + 1
        share = step / rising if step <= rising else (1 + math.cos(math.pi * (step - rising) / left)) / 2
        for (name, p), gradient in zip(names.items(), gradients, strict=True):
            first, second = moments[name]
            first.mul_(0.9).add_(0.1 * gradient)
            second.mul_(0.98).add_(0.02 * gradient**2)
            with torch.no_grad():
                decay = options.weight_decay if p.ndim >= 2 else 0.0
                p.mul_(1 - share * options.learning_rate * decay)
                root = (second / (1 - 0.98**step)).sqrt() + 1e-8
                p.sub_(share * options.learning_rate * first / (1 - 0.9**step) / root)
                model.logit_scale.clamp_(0, math.log(100))
    return model.state_dict()


SHORT = replace(TINY, steps=6, warmup=2)
CHANGES = [
    {"steps": 8},
    {"batch_size": 24},
    {"learning_rate": 1e-3},
    {"warmup": 4},
    {"weight_decay": 5.0},
    {"seed": 1},
    {"layers": 2},
    {"text_layers": 2},
    {"head_width": 8},
    {"patch_size": 8},
    {"embed_dim": 24},
    {"width": 48},
]


def apart(one, two):
    """Relative distance of two state dicts; infinite where the models have other shapes.

    Without the words, of which few are used, and attention's biases: a key's gets no gradient but rounding errors.
    """
    names = [name for name in one if name != "token_embedding.weight" and not name.endswith("in_proj_bias")]
    if {n: t.shape for n, t in one.items()} != {n: t.shape for n, t in two.items()}:
        return math.inf
    return math.sqrt(sum(float((one[n] - two[n]).square().sum()) for n in names)) / math.sqrt(
        sum(float(two[n].square().sum()) for n in names)
    )


@pytest.mark.parametrize("change", [{}, *CHANGES], ids=str)
def test_every_option_of_the_pretraining_does_what_it_does_by_hand(change):
    images, captions, labels = corpus()
    options = replace(SHORT, **change)
    model = pretrain(images, captions, labels, options)[0].state_dict()
    assert apart(model, pretrained_by_hand(images, captions, options)) < 5e-4
    if change and "head_width" not in change:  # heads have no weights of their own
        assert apart(model, pretrain(images, captions, labels, SHORT)[0].state_dict()) > 2e-3


def test_the_shape_of_a_scratch_model_is_the_configs():
    options = ScratchOptions(width=48, layers=2, text_layers=3, head_width=16, patch_size=8, embed_dim=20)
    model = build_model(scratch_config(options, 16), "shape")
    attention = model.visual.transformer.resblocks[0].attn
    assert (attention.embed_dim, attention.num_heads, model.transformer.width) == (48, 3, 48)
    assert (len(model.visual.transformer.resblocks), len(model.transformer.resblocks)) == (2, 3)
    assert (model.visual.patch_size, tuple(model.visual.proj.shape)) == ((8, 8), (48, 20))


def test_noise_in_the_captions_changes_what_is_learnt():
    noisy = pretrain(*corpus(), replace(SHORT, caption_noise=0.4))[0].state_dict()
    assert apart(noisy, pretrain(*corpus(), SHORT)[0].state_dict()) > 2e-3
