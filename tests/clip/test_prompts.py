"""Class text features."""

import pytest
import torch

from sap.clip import prompts
from sap.clip.prompts import class_features, prompt_features, prompt_tokens
from sap.errors import SapError

CLASSES = ("dog", "giraffe", "guitar")


def test_features_have_unit_norm_and_follow_the_classes(tiny_clip):
    features = class_features(tiny_clip, CLASSES, ["a photo of a {}."])
    assert features.shape == (3, 16)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    turned = class_features(tiny_clip, CLASSES[::-1], ["a photo of a {}."])
    torch.testing.assert_close(turned, features.flip(0))


def test_one_template_is_the_models_own_text_feature(tiny_clip):
    own = tiny_clip.text_features(tiny_clip.tokenize([f"a {name}." for name in CLASSES]))
    torch.testing.assert_close(class_features(tiny_clip, CLASSES, ["a {}."]), own)


def test_several_templates_are_the_renormalised_mean(tiny_clip):
    one, two = (class_features(tiny_clip, CLASSES, [template]) for template in ("a {}.", "the {}!"))
    both = class_features(tiny_clip, CLASSES, ["a {}.", "the {}!"])
    torch.testing.assert_close(both, torch.nn.functional.normalize(one + two, dim=1))


def test_templates_without_a_place_and_doubled_classes_are_refused(tiny_clip):
    with pytest.raises(SapError, match=r"backbone\.prompts"):
        class_features(tiny_clip, CLASSES, ["a photo"])
    with pytest.raises(SapError, match="'dog' stands twice"):
        class_features(tiny_clip, ("dog", "cat", "dog"), ["a {}."])


def test_other_braces_of_a_template_are_text(tiny_clip):
    odd = class_features(tiny_clip, CLASSES, ["a {photo of} {}"])
    assert torch.equal(odd, class_features(tiny_clip, [f"a {{photo of}} {name}" for name in CLASSES], ["{}"]))


def test_many_texts_pass_the_model_in_parts(tiny_clip, monkeypatch):
    whole, parts = class_features(tiny_clip, CLASSES, ["a {}.", "the {}!"]), []
    monkeypatch.setattr(prompts, "TEXT_BATCH", 4)
    monkeypatch.setattr(tiny_clip.model, "encode_text", counting(tiny_clip.model.encode_text, parts))
    torch.testing.assert_close(class_features(tiny_clip, CLASSES, ["a {}.", "the {}!"]), whole)
    assert parts == [4, 2]


def test_gradients_of_parts_that_are_computed_again_are_those_of_the_whole(tiny_clip, monkeypatch):
    weight = tiny_clip.model.text_projection.requires_grad_(True)
    tokens = prompt_tokens(tiny_clip, CLASSES, ["a {}.", "the {}!"])
    assert tokens.shape == (3, 2, 24)
    [whole] = torch.autograd.grad(prompt_features(tiny_clip, tokens)[:, 0].sum(), weight)
    monkeypatch.setattr(prompts, "TEXT_BATCH", 4)
    [parts] = torch.autograd.grad(prompt_features(tiny_clip, tokens)[:, 0].sum(), weight)
    torch.testing.assert_close(parts, whole)
    assert whole.abs().max() > 0.01


def counting(function, sizes):
    def counted(tokens, **options):
        sizes.append(len(tokens))
        return function(tokens, **options)

    return counted
