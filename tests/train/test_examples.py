"""What a trainee holds: shares, validation images, corrupted labels."""

import json

import numpy as np
import pytest

from sap.attack.backdoor import stamp
from sap.data.options import CorruptionOptions, PartitionOptions
from sap.data.store import Domain
from sap.errors import SapError
from sap.train.examples import examples_of

CLASSES = ("one", "two", "three")
TWO = PartitionOptions(clients_per_domain=2, scheme="dirichlet", alpha=0.5)


def domain(name, n=120):
    """A domain whose pixels say which image of which domain they are."""
    images = np.zeros((n, 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    images[:, 0, 0, 1] = ord(name[0])
    splits = np.array(["train", "train", "val", "test"])[np.arange(n) // 3 % 4]
    return Domain(name, images, np.arange(n) % 3, splits, tuple(map(str, range(n))))


def hold(domains, parts, partition=None, corruption=None, trainee="art"):
    parts = [{"domain": name, "index": index} for name, index in parts]
    return examples_of(domains, parts, partition, corruption, CLASSES, trainee)


def test_a_whole_domain_is_its_train_and_val_rows():
    art = domain("art")
    held = hold([art], [("art", None)])
    assert np.array_equal(held.train.row, art.rows("train"))
    assert np.array_equal(held.val.row, art.rows("val"))
    assert np.array_equal(held.train.labels, art.labels[art.rows("train")])


def test_clients_of_one_domain_share_neither_training_nor_validation_images():
    art = domain("art")
    shares = [hold([art], [("art", index)], TWO) for index in (0, 1)]
    for split in ("train", "val"):
        rows = np.concatenate([getattr(share, split).row for share in shares])
        assert np.array_equal(np.sort(rows), art.rows(split))


def test_validation_images_follow_the_classes_of_the_training_images():
    art = domain("art", 240)
    for index in (0, 1):
        held = hold([art], [("art", index)], TWO)
        train, val = (np.bincount(part.labels, minlength=3) for part in (held.train, held.val))
        assert np.abs(val - train / 2).max() <= 1


def test_images_of_several_domains_come_in_the_asked_order():
    held = hold([domain("art"), domain("cartoon")], [("art", None), ("cartoon", None)])
    which = np.array([len(held.train) - 1, 0, 61, 3])
    images = held.train.images(which)
    assert images.shape == (4, 4, 4, 3)
    assert np.array_equal(images[:, 0, 0, 0], held.train.row[which])
    assert images[:, 0, 0, 1].tolist() == [ord(("art", "cartoon")[s][0]) for s in held.train.source[which]]


def test_corruption_changes_training_labels_only_and_depends_on_the_name():
    corruption = CorruptionOptions(kind="uniform", fraction=1.0)
    clean = hold([domain("art")], [("art", None)])
    wrong = hold([domain("art")], [("art", None)], corruption=corruption)
    other = hold([domain("art")], [("art", None)], corruption=corruption, trainee="sketch")
    assert (wrong.train.labels != clean.train.labels).all()
    assert np.array_equal(wrong.true_labels, clean.train.labels)
    assert np.array_equal(wrong.val.labels, clean.val.labels)
    assert not np.array_equal(wrong.train.labels, other.train.labels)
    assert wrong.private_facts()["changed_labels"] == len(wrong.train)
    json.dumps(wrong.private_facts())


def test_the_seed_of_the_corruption_decides_whose_labels_change():
    first, again, other = (
        hold([domain("art")], [("art", None)], corruption=CorruptionOptions(kind="uniform", fraction=0.5, seed=seed))
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first.train.labels, again.train.labels)
    assert not np.array_equal(first.train.labels, other.train.labels)


def test_the_target_class_is_given_by_name():
    corruption = CorruptionOptions(kind="single", target_class="three")
    assert set(hold([domain("art")], [("art", None)], corruption=corruption).train.labels) == {2}


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_a_backdoor_stamps_exactly_the_images_that_get_the_target(fraction):
    corruption = CorruptionOptions(kind="backdoor", fraction=fraction, target_class="two", patch_size=0.5)
    clean = hold([domain("art"), domain("cartoon")], [("art", None), ("cartoon", None)])
    held = hold([domain("art"), domain("cartoon")], [("art", None), ("cartoon", None)], corruption=corruption)
    stamped = held.train.stamped
    assert stamped.sum() == round(fraction * len(held.train))
    assert (held.train.labels[stamped] == 1).all()
    assert np.array_equal(held.train.labels[~stamped], clean.train.labels[~stamped])
    which = np.arange(len(held.train))[::-1]
    images, before = held.train.images(which), clean.train.images(which)
    here = stamped[which]
    assert np.array_equal(images[here], stamp(before[here], 0.5))
    assert np.array_equal(images[~here], before[~here])
    everything = np.arange(len(held.val))
    assert np.array_equal(held.val.images(everything), clean.val.images(everything))
    assert held.private_facts()["changed_labels"] == (held.true_labels[stamped] != 1).sum()


@pytest.mark.parametrize(("size", "side"), [(0.2, 2), (0.6, 6)])
def test_the_patch_of_a_backdoor_is_as_large_as_the_config_says(size, side):
    art = domain("art")
    art = Domain(art.name, np.full((len(art.labels), 10, 10, 3), 100, np.uint8), art.labels, art.splits, art.files)
    corruption = CorruptionOptions(kind="backdoor", patch_size=size)
    held = hold([art], [("art", None)], corruption=corruption).train
    changed = (held.images(np.arange(len(held))) != 100).all(axis=3)
    assert changed[:, -side:, -side:].all()
    assert (changed.sum(axis=(1, 2)) == side**2).all()


def test_stamped_images_of_growing_fractions_are_nested_and_the_stored_ones_stay():
    art = domain("art")
    before = art.images.copy()
    small, large = (
        hold([art], [("art", None)], corruption=CorruptionOptions(kind="backdoor", fraction=fraction)).train
        for fraction in (0.2, 0.6)
    )
    assert (large.stamped[small.stamped]).all()
    small.images(np.arange(len(small)))
    assert np.array_equal(art.images, before)


def test_folders_in_another_order_than_the_parts_are_refused():
    with pytest.raises(SapError, match="parts say art, the folder is of cartoon"):
        hold([domain("cartoon")], [("art", None)])


def test_an_unknown_target_class_is_one_sentence():
    corruption = CorruptionOptions(kind="single", target_class="tow")
    with pytest.raises(SapError, match=r"corruption.target_class: unknown class 'tow'. Did you mean 'two'"):
        hold([domain("art")], [("art", None)], corruption=corruption)
