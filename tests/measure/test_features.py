"""Sums of a client's frozen features: what they are of, that they add up, and which images failed."""

import pytest
import torch

from sap.measure.features import feature_sums
from tests.measure.test_statistics import make_images, make_update

LABELS = torch.tensor([0, 2, 2, 0, 2, 0, 2, 2, 0])


@pytest.fixture
def backbone(tiny_clip):
    tiny_clip.model.double()
    return tiny_clip


@pytest.fixture
def measured(backbone):
    """The sums of some of nine images, and the frozen and own features of all."""
    update, pixels = make_update(backbone.model, scale=1.0), make_images(9)
    with torch.no_grad():
        frozen = backbone.image_features(pixels)
        with update.applied(backbone.model):
            own = backbone.image_features(pixels)
    texts = torch.stack([frozen[0], own[1], frozen[1]])  # zero-shot has image 1 right, and others wrong

    def run(kind, labels=LABELS, which=slice(None), batch_size=4):
        return feature_sums(backbone, update, pixels[which], labels[which], texts, kind, batch_size)

    return run, frozen, own, texts


def test_moments_are_counts_sums_and_squares_of_the_frozen_features(measured):
    run, frozen, _, _ = measured
    found = run("moments")
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        "moments/count": (3,), "moments/sum": (3, frozen.shape[1]), "moments/outer": (frozen.shape[1],) * 2,
    }  # fmt: skip
    assert found["moments/count"].tolist() == [4, 0, 5]
    for label in range(3):
        torch.testing.assert_close(found["moments/sum"][label], frozen[label == LABELS].sum(0).float())
    torch.testing.assert_close(found["moments/outer"], (frozen.T @ frozen).float())


@pytest.mark.parametrize("kind", ["moments", "failures"])
def test_sums_of_two_halves_add_up_and_batches_do_not_matter(measured, kind):
    run, *_ = measured
    whole, first, second = run(kind), run(kind, which=slice(0, 4), batch_size=3), run(kind, which=slice(4, None))
    for name in whole:
        torch.testing.assert_close(first[name] + second[name], whole[name])


def test_failures_are_what_zero_shot_has_wrong_and_the_own_model_right(measured):
    run, frozen, own, texts = measured
    right = (own @ texts.T).argmax(1)
    labels = right.clone()
    labels[::3] = (right[::3] + 1) % 3  # what the own model has wrong, too
    failed = [i for i in range(9) if right[i] == labels[i] and (frozen @ texts.T).argmax(1)[i] != labels[i]]
    assert 0 < len(failed) < 9
    found = run("failures", labels)
    assert found["failures/count"].tolist() == [len(failed)]
    torch.testing.assert_close(found["failures/sum"], frozen[failed].sum(0, keepdim=True).float())
    torch.testing.assert_close(found["failures/outer"], (frozen[failed].T @ frozen[failed]).float())


def test_without_failures_the_sums_are_zero_and_the_model_is_as_before(measured, backbone):
    run, frozen, *_ = measured
    found = run("failures", (frozen @ measured[3].T).argmax(1))
    assert all(not tensor.any() for tensor in found.values())
    with torch.no_grad():
        torch.testing.assert_close(backbone.image_features(make_images(9)), frozen)
