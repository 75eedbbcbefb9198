"""The listing of a domain's images says when images come, go or are renamed, and nothing else."""

import pytest

from sap.plan.datasets import listing_of


@pytest.fixture
def domain(tmp_path):
    """(settings of the data, folder of one domain with two classes of two images)."""
    folder = tmp_path / "photo"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for image in ("1.jpg", "2.jpg"):
            (folder / name / image).write_bytes(b"pixels")
    return {"source": "folder", "root": str(tmp_path)}, folder


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "dog/3.jpg").touch(),
        lambda folder: (folder / "dog/2.jpg").unlink(),
        lambda folder: (folder / "dog/2.jpg").rename(folder / "dog/3.jpg"),
        lambda folder: (folder / "dog/2.jpg").rename(folder / "cat/3.jpg"),
        lambda folder: (folder / b"dog/\xff.jpg".decode("utf-8", "surrogateescape")).touch(),
    ],
    ids=["one more", "one less", "renamed", "another class", "no text"],
)
def test_images_that_come_go_or_move_change_the_listing(domain, change):
    data, folder = domain
    before = listing_of(data, "photo")
    change(folder)
    assert listing_of(data, "photo") != before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "dog/2.jpg").touch(),
        lambda folder: (folder / "dog/.DS_Store").touch(),
        lambda folder: (folder.parent / "sketch").mkdir(),
    ],
    ids=["later date", "hidden file", "another domain"],
)
def test_dates_hidden_files_and_other_domains_do_not(domain, change):
    data, folder = domain
    before = listing_of(data, "photo")
    change(folder)
    assert listing_of(data, "photo") == before
