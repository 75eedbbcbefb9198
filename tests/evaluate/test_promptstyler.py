"""PromptStyler's head: its losses by hand, the word that takes a token's place, and what the head is."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from sap.clip.styles import PLACE, embedding_of, styled_features, styled_tokens
from sap.errors import SapError
from sap.serve._api import KINDS, Fold
from sap.serve.promptstyler import Options, arcface, head, style_loss, style_words

CLASSES = ["cat", "dog", "seven"]


def unit(*shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=rng, dtype=torch.float64), dim=-1)


@pytest.fixture
def backbone(tiny_clip):
    tiny_clip.model.double()
    return tiny_clip


def test_a_word_of_the_vocabulary_at_its_own_place_changes_nothing(backbone):
    tokens = styled_tokens(backbone, CLASSES)
    assert tokens[0, PLACE] == backbone.tokenize(["*"])[0, 1]
    word = embedding_of(backbone).weight[tokens[0, PLACE]]
    with torch.no_grad():
        torch.testing.assert_close(styled_features(backbone, tokens, word), backbone.text_features(tokens))
        other = backbone.tokenize([f"a dog style of a {name}" for name in CLASSES])
        word = embedding_of(backbone).weight[other[0, PLACE]]
        torch.testing.assert_close(styled_features(backbone, tokens, word), backbone.text_features(other))


def test_gradients_reach_the_word_and_a_text_tower_without_one_is_refused(backbone):
    word = torch.zeros(embedding_of(backbone).weight.shape[1], dtype=torch.float64, requires_grad=True)
    styled_features(backbone, styled_tokens(backbone, CLASSES), word)[:, 0].sum().backward()
    assert word.grad.abs().sum() > 0
    del backbone.model.token_embedding
    with pytest.raises(SapError, match="promptstyler: this backbone's text tower has no token embedding"):
        embedding_of(backbone)


def test_the_losses_of_a_style_are_those_of_the_paper():
    style, earlier, styled, contents = unit(1, 5, seed=1), unit(3, 5, seed=2), unit(4, 5, seed=3), unit(4, 5, seed=4)
    apart = sum(abs(float(style[0] @ other)) for other in earlier) / 3
    logits = [[float(a @ b) for b in contents] for a in styled]
    about = -sum(row[m] - math.log(sum(map(math.exp, row))) for m, row in enumerate(logits)) / 4
    assert style_loss(style, earlier, styled, contents).item() == pytest.approx(apart + about)
    assert style_loss(style, earlier[:0], styled, contents).item() == pytest.approx(about)


def test_arcface_moves_the_true_angle_by_the_margin():
    angles = torch.tensor([[0.4, 1.0, 2.0], [3.0, 0.5, 1.0]], dtype=torch.float64)
    labels = torch.tensor([1, 0])
    moved = angles.cos()
    moved[0, 1] = math.cos(1.5)
    moved[1, 0] = math.cos(3.0) - 0.5 * math.sin(0.5)  # beyond π − 0.5
    assert arcface(angles.cos(), labels).item() == pytest.approx(cross_entropy(5 * moved, labels).item())


def test_style_words_take_the_steps_of_a_plain_loop_and_are_the_same_each_time(backbone):
    one, again = (style_words(backbone, CLASSES, 3, 3) for _ in range(2))
    start = style_words(backbone, CLASSES, 3, 0)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    tokens, alone = styled_tokens(backbone, CLASSES), styled_tokens(backbone, [""])
    contents = backbone.text_features(backbone.tokenize(CLASSES))
    earlier = torch.cat([styled_features(backbone, alone, each) for each in one[:2]])
    word, speed = start[2].clone(), 0.0
    for _ in range(3):
        leaf = word.clone().requires_grad_()
        style, styled = styled_features(backbone, alone, leaf), styled_features(backbone, tokens, leaf)
        loss = (style @ earlier.T).abs().mean() + cross_entropy(styled @ contents.T, torch.arange(3))
        speed = 0.9 * speed + torch.autograd.grad(loss, leaf)[0]
        word = word - 0.002 * speed
    torch.testing.assert_close(one[2], word)


def test_the_head_starts_at_the_class_texts_and_learns_the_styled_ones(backbone):
    contents = backbone.text_features(backbone.tokenize(CLASSES))
    options = Options(styles=3, steps=2, epochs=0)
    torch.testing.assert_close(head(backbone, CLASSES, options), contents)
    learned = head(backbone, CLASSES, Options(styles=3, steps=2, epochs=60))
    tokens, labels = styled_tokens(backbone, CLASSES), torch.arange(3).repeat(3)
    features = torch.cat([styled_features(backbone, tokens, w) for w in style_words(backbone, CLASSES, 3, 2)])
    torch.testing.assert_close(learned.norm(dim=1), torch.ones(3, dtype=torch.float64))
    assert arcface(features @ learned.T, labels) < arcface(features @ contents.T, labels)


def test_it_is_judged_with_the_head_in_the_place_of_the_class_texts_in_one_pass(backbone):
    asked = []

    class Judge:
        def __init__(self):
            self.backbone = backbone

        def logits(self, images, update, features):
            asked.append((update, features))
            return np.array([[0.0, 1.0, 2.0]])

    options = {"styles": 1, "steps": 1, "epochs": 1}
    fold = Fold((), {}, lambda settings: "merged", None, None, None, None, tuple(CLASSES), None)
    served = KINDS["promptstyler"].make({"kind": "promptstyler", "serve": options}, fold)
    for _ in range(2):
        found = served.predict(Judge(), None)
    np.testing.assert_allclose(found, np.exp([[0, 1, 2]]) / np.exp([0, 1, 2]).sum())
    assert [update for update, _ in asked] == ["merged"] * 2
    assert asked[0][1] is asked[1][1]
    torch.testing.assert_close(asked[0][1], head(backbone, CLASSES, Options(**options)))
    assert (served.passes, served.update) == (1, "merged")
