"""Copies: identical images share a split, near ones are counted, and nothing changes where there are none."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sap.data.copies import joined, pairs_apart, print_of
from sap.data.digits import CLASSES, make_domain
from sap.data.images import Geometry
from sap.data.options import DataOptions, DigitsOptions, ProblemOptions, SplitOptions
from sap.data.prepare import prepare_domain
from sap.data.split import split_rows
from sap.errors import SapError
from sap.io import read_csv
from tests.data.image_files import picture

NAMES = ("cat", "dog")


@pytest.fixture
def prepare(tmp_path):
    """Prepares {file below the domain: seed of its picture}; returns (facts, rows of index.csv by file)."""

    def prepared(files, **problems):
        for file, seed in files.items():
            path = tmp_path / "root" / "art" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            picture((32, 32), seed=seed).save(path)
        options = DataOptions(source="folder", root=str(tmp_path / "root"), problems=ProblemOptions(**problems))
        facts = prepare_domain("art", options, Geometry(32), NAMES, tmp_path / "store")
        return facts, {row["file"].removeprefix("art/"): row for row in read_csv(tmp_path / "store" / "index.csv")}

    return prepared


def test_byte_identical_pairs_never_straddle_two_splits(prepare, capsys):
    pairs = {
        f"{name}/{side}{i:02d}.png": 100 * c + i for c, name in enumerate(NAMES) for i in range(10) for side in "ab"
    }
    facts, rows = prepare(pairs)
    for name, i in itertools.product(NAMES, range(10)):
        assert rows[f"{name}/a{i:02d}.png"]["split"] == rows[f"{name}/b{i:02d}.png"]["split"]
    assert {row["split"] for row in rows.values()} == {"train", "val", "test"}
    assert facts["copies"] == {"identical": 20, "labelled_apart": 0, "near_across_splits": 0}
    assert "art: 20 images are identical to another one, and share its split; 0 pairs" in capsys.readouterr().out


def test_copies_under_two_classes_share_a_split_and_are_counted_as_wrong_labels(prepare, capsys):
    facts, rows = prepare({f"{name}/{i:02d}.png": i for name in NAMES for i in range(12)})
    assert all(rows[f"cat/{i:02d}.png"]["split"] == rows[f"dog/{i:02d}.png"]["split"] for i in range(12))
    assert facts["copies"] == {"identical": 12, "labelled_apart": 12, "near_across_splits": 0}
    assert "12 such pairs have different classes" in capsys.readouterr().out


def test_a_class_of_copies_is_as_thin_as_its_one_image(prepare):
    files = {f"cat/{i}.png": i for i in range(6)} | {f"dog/{i}.png": 100 for i in range(6)}
    with pytest.raises(SapError, match=r"art/dog has 1 usable image\(s\), fewer than the 3 splits; copies count once"):
        prepare(files)
    _, rows = prepare(files, thin_class="allow")
    assert {row["split"] for file, row in rows.items() if file.startswith("dog")} == {"train"}


def test_a_saved_again_image_is_near_and_another_one_is_not():
    image = np.asarray(picture((64, 64)))
    touched = image.copy()
    touched[5, 7] ^= 1
    one, near, other = (print_of(found) for found in (image, touched, np.asarray(picture((64, 64), seed=1))))
    assert one.digest != near.digest
    assert one.phash == near.phash != other.phash


def test_sources_that_share_an_image_become_one_and_others_keep_their_names():
    assert joined(["a", "b", "a", "c"], ["1", "2", "3", "4"]) == ["a", "b", "a", "c"]
    # b shares an image with a, c with b: all of them are one
    assert joined(["d", "a", "b", "b", "c", "c"], ["0", "1", "1", "2", "2", "3"]) == ["d", "a", "a", "a", "a", "a"]


@settings(deadline=None, max_examples=50)
@given(items=st.lists(st.tuples(st.sampled_from("pqrs"), st.sampled_from(["train", "val", "test"])), max_size=12))
def test_pairs_are_counted_as_a_loop_over_pairs_counts_them(items):
    keys, groups = (np.array([item[place] for item in items], str) for place in (0, 1))
    expected = sum(a[0] == b[0] and a[1] != b[1] for a, b in itertools.combinations(items, 2))
    assert pairs_apart(keys, groups) == expected


def test_the_embedded_digits_have_no_copies_so_their_splits_are_what_they_were():
    images, labels, sources = make_domain("sketch", DigitsOptions(per_class=20))
    one = joined(sources, [print_of(image).digest for image in images])
    assert one == sources
    assert (split_rows(labels, one, SplitOptions(), "sketch", CLASSES) == frozen_splits(labels, sources)).all()


def frozen_splits(labels, sources):
    """The rule as it was before copies were looked at, written down again: sources of each class, shuffled and cut."""
    from sap.data.split import split_sizes
    from sap.io import seed_of

    splits, names = np.empty(len(labels), "<U5"), np.asarray(sources)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        found = np.array(list(dict.fromkeys(names[rows].tolist())))
        order = np.random.default_rng(seed_of("split", "sketch", CLASSES[label], 0)).permutation(len(found))
        n_val, n_test = split_sizes(len(found), SplitOptions())
        test, val = found[order[:n_test]], found[order[n_test : n_test + n_val]]
        splits[rows] = np.where(np.isin(names[rows], test), "test", np.where(np.isin(names[rows], val), "val", "train"))
    return splits
