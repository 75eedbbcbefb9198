"""The embedded set: what it promises about sources, repetition and content."""

from itertools import chain, combinations, pairwise

import numpy as np
import pytest

from sap.data import digits
from sap.data.digits import (
    CLASSES,
    DOMAINS,
    PUBLIC_STYLE,
    make_anchors,
    make_class_anchors,
    make_corpus,
    make_domain,
    pool_sources,
)
from sap.data.options import DigitsOptions, SplitOptions
from sap.data.split import split_rows
from sap.errors import SapError

SMALL = DigitsOptions(per_class=12, corpus=200, anchors=20)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_holds_per_class_images_of_each_class(domain):
    images, labels, sources = make_domain(domain, SMALL)
    assert images.shape == (120, 16, 16, 3)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [12] * 10
    assert len(sources) == 120
    assert images.std(axis=(1, 2, 3)).min() > 8  # nothing is blank


def test_pools_and_handwritten_domains_share_no_source():
    groups = {
        (pool, domain if pool == "clients" else domain == "printed"): set(chain(*pool_sources(pool, domain, 0)))
        for pool in digits.LOOKS
        for domain in DOMAINS
    }
    for (_, one), (_, other) in combinations(groups.items(), 2):
        assert one.isdisjoint(other)
    assert sum(len(group) for (_, kind), group in groups.items() if kind not in (True, "printed")) == 1797


def test_photo_patches_of_pools_come_from_different_columns():
    ranges = sorted(digits.PHOTO_COLUMNS.values())
    assert all(before[1] <= after[0] for before, after in pairwise(ranges))


@pytest.mark.parametrize("domain", DOMAINS)
def test_splits_of_a_domain_share_no_source(domain):
    _, labels, sources = make_domain(domain, DigitsOptions())
    splits = split_rows(labels, sources, SplitOptions(), domain, CLASSES)
    found = {name: {s for s, split in zip(sources, splits, strict=True) if split == name} for name in set(splits)}
    assert set(found) == {"train", "val", "test"}
    for one, other in combinations(found.values(), 2):
        assert one.isdisjoint(other)
    for label in range(10):
        assert np.mean(splits[labels == label] == "test") == pytest.approx(0.3, abs=0.06)


def test_everything_is_repeatable_and_follows_the_seed():
    first, again, other = (make_domain("photo", o)[0] for o in (SMALL, SMALL, DigitsOptions(per_class=12, seed=1)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    images, captions, labels = make_corpus(SMALL)
    again = make_corpus(SMALL)
    assert np.array_equal(images, again[0])
    assert captions == again[1]
    assert np.array_equal(labels, again[2])


def test_corpus_captions_name_their_digit():
    images, captions, labels = make_corpus(SMALL)
    assert len(images) == len(captions) == len(labels) == 200
    for caption, label in zip(captions, labels, strict=True):
        named = {word for word in CLASSES if word in caption.replace(".", " ").replace(",", " ").split()}
        named |= {CLASSES[int(character)] for character in caption if character.isdigit()}
        assert named == {CLASSES[label]}


def test_labelled_anchors_have_a_style_of_no_domain_and_shapes_of_no_client(monkeypatch):
    assert PUBLIC_STYLE not in DOMAINS
    clients = set(chain(*(chain(*pool_sources("clients", domain, 0)) for domain in DOMAINS)))
    shapes = pool_sources("anchors", PUBLIC_STYLE, 0)
    assert not clients & set(chain(*shapes))
    drawn = []
    images_of = digits._images
    monkeypatch.setattr(digits, "_images", lambda *given: drawn.append(given) or images_of(*given))
    images, labels = make_class_anchors(SMALL)
    assert images.shape == (20, SMALL.size, SMALL.size, 3)
    assert np.array_equal(labels, np.arange(20) % 10)
    ((_, style, sources, *_),) = drawn
    assert style == PUBLIC_STYLE
    assert all(source in shapes[label] for source, label in zip(sources, labels, strict=True))
    assert len(set(sources)) == 20
    assert min(map(len, shapes)) > 6  # more than three a class are drawn without showing a shape twice
    means = images.reshape(20, -1, 3).mean(axis=1)
    assert (np.ptp(means, axis=1) > 3).all()  # the boards are coloured


def test_anchors_show_all_styles_and_classes():
    images, captions = make_anchors(SMALL)
    assert images.shape == (20, 16, 16, 3)
    assert len(set(captions)) > 5


@pytest.mark.parametrize("size", [8, 33, 64])
def test_any_allowed_size_can_be_drawn(size):
    images, _, _ = make_domain("photo", DigitsOptions(size=size, per_class=3))
    assert images.shape == (30, size, size, 3)
    assert make_anchors(DigitsOptions(size=size, anchors=8))[0].shape == (8, size, size, 3)


def test_an_unknown_domain_gets_a_suggestion():
    with pytest.raises(SapError, match="Did you mean 'sketch'"):
        make_domain("sketches", SMALL)
