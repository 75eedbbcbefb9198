"""A broken store says which file and what to do."""

import numpy as np
import pytest

from sap.data.store import MOST_EXAMPLES, open_store, read_examples, write_examples, write_images, write_index
from sap.errors import SapError
from sap.provenance import save_meta


@pytest.fixture
def folder(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    prints = write_images(tmp_path / "images.npy", iter(images), 8)
    splits = np.array(["train", "val", "test", "train", "test"])
    write_index(
        tmp_path, [f"f{i}" for i in range(5)], np.array([0, 0, 1, 1, 1]), splits, prints, ["a", "b"], {"x": "empty"}
    )
    return tmp_path


def test_written_images_are_an_ordinary_npy_file(folder):
    images = np.load(folder / "images.npy")
    assert images.shape == (5, 8, 8, 3)
    assert np.array_equal(images, np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8))
    assert np.array_equal(open_store(folder).rows("test"), [2, 4])
    with pytest.raises(ValueError, match="split must be one of"):
        open_store(folder).rows("tests")


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_damaged_image_is_refused_when_it_is_first_read_and_the_others_are_given(folder):
    images = np.load(folder / "images.npy")
    flip(folder / "images.npy", -1)
    store = open_store(folder)
    assert np.array_equal(store.images[np.array([3, 0, 1])], images[[3, 0, 1]])
    for _ in range(2):
        with pytest.raises(
            SapError, match=r"images\.npy is damaged \(image 4 has not the checksum .*Delete it and run"
        ):
            store.images[np.array([0, 4])]


def test_a_changed_label_is_refused_where_meta_knows_the_file(folder):
    save_meta(folder, {"stage": "prepare_domain"})
    open_store(folder)
    path = folder / "index.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("f0,a,0", "f0,a,1"), encoding="utf-8")
    with pytest.raises(SapError, match=rf"index\.csv is damaged .*Delete the folder {folder} and run"):
        open_store(folder)


def test_examples_are_the_first_training_image_of_each_class(folder):
    images, labels = np.load(folder / "images.npy"), np.array([0, 0, 3, 3, 3])
    write_examples(folder, labels, np.array(["val", "train", "test", "val", "val"]), 4)
    found = read_examples(folder)
    assert sorted(found) == [0, 3]  # a class without images has none
    assert np.array_equal(found[0], images[1])
    assert np.array_equal(found[3], images[2])  # nothing to train on: the first there is


def test_examples_of_many_classes_are_few_and_spread_over_all(tmp_path):
    labels = np.repeat(np.arange(345), 2)
    write_images(tmp_path / "images.npy", (np.full((2, 2, 3), label % 256, np.uint8) for label in labels), 2)
    write_examples(tmp_path, labels, np.full(len(labels), "train"), 345)
    found = sorted(read_examples(tmp_path))
    assert (len(found), found[0], found[-1]) == (MOST_EXAMPLES, 0, 344)


def break_truncated(folder):
    path = folder / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])


def break_header(folder):
    path = folder / "images.npy"
    path.write_bytes(path.read_bytes().replace(b"(5,", b"(5(", 1))


def break_empty(folder):
    (folder / "images.npy").write_bytes(b"")


def break_noise(folder):
    (folder / "images.npy").write_bytes(b"noise" * 50)


def break_dtype(folder):
    np.save(folder / "images.npy", np.zeros((5, 8, 8, 3)))


def break_rows(folder):
    path = folder / "index.csv"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")


def break_label(folder):
    path = folder / "index.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("a,0", "a,zero"), encoding="utf-8")


def break_split(folder):
    path = folder / "index.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("val", "dev"), encoding="utf-8")


def break_column(folder):
    path = folder / "index.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("label", "y"), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "file", "words"),
    [
        (break_truncated, "images.npy", "length"),
        (break_header, "images.npy", ""),
        (break_empty, "images.npy", "EOF"),
        (break_noise, "images.npy", "magic string"),
        (break_dtype, "images.npy", "expected uint8"),
        (break_rows, "index.csv", "4 rows for 5 images"),
        (break_label, "index.csv", "expected the columns"),
        (break_split, "index.csv", "a split other than"),
        (break_column, "index.csv", "expected the columns"),
    ],
)
def test_a_damaged_store_names_the_file_and_the_next_step(damage, file, words, folder):
    damage(folder)
    with pytest.raises(SapError, match=rf"{file} cannot be read .*{words}.*delete it and run") as caught:
        open_store(folder)
    assert str(folder / file) in str(caught.value)


@pytest.mark.parametrize("file", ["images.npy", "index.csv"])
def test_a_missing_file_names_the_command_that_builds_it(file, folder):
    (folder / file).unlink()
    with pytest.raises(SapError, match=rf"{file} is missing. Build it with: snakemake"):
        open_store(folder)
