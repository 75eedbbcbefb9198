"""The listing of a domain's images says when images come, go or are renamed, and nothing else."""

import pytest

from sap.data.sources.folder import stamp
from sap.errors import SapError
from sap.plan.datasets import classes_of, domains_of
from sap.plan.watched import inputs_of, stamp_of


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
    before = stamp(data, "photo")
    change(folder)
    assert stamp(data, "photo") != before


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
    before = stamp(data, "photo")
    change(folder)
    assert stamp(data, "photo") == before


@pytest.mark.parametrize("name", ["a\x1b[31m", "two\nlines", "\u202egnp", b"\xff".decode("utf-8", "surrogateescape")])
def test_a_folder_name_that_a_terminal_would_obey_is_refused(tmp_path, name):
    for domain, class_name in (("photo", "cat"), ("photo", "dog"), (name, "cat")):
        (tmp_path / domain / class_name).mkdir(parents=True)
    data = {"source": "folder", "root": str(tmp_path), "domains": []}
    with pytest.raises(SapError, match=r"folder name '.*\\.*' is not plain UTF-8 text\. Rename the folder") as error:
        domains_of(data)
    assert str(error.value).isprintable()
    assert domains_of(data | {"domains": ["photo"]}) == ["photo"]
    (tmp_path / "photo" / name).mkdir()
    with pytest.raises(SapError, match="Rename the folder"):
        classes_of(data | {"domains": ["photo"]})


def test_a_domain_with_a_brace_is_refused_because_snakemake_has_no_escape(tmp_path):
    for domain in ("photo", "{target}"):
        (tmp_path / domain).mkdir()
    with pytest.raises(SapError, match=r"data\.domains: '\{target\}' has a brace"):
        domains_of({"source": "folder", "root": str(tmp_path), "domains": []})


def test_of_files_with_braces_a_stamp_is_watched_and_others_are_inputs(tmp_path):
    odd, plain = tmp_path / "{x}" / "captions.csv", tmp_path / "captions.csv"
    odd.parent.mkdir()
    odd.touch(), plain.touch()
    files = [str(odd), str(plain)]
    assert inputs_of(files) == [str(plain)]
    assert stamp_of([str(plain)]) == ""
    before = stamp_of(files)
    assert before == stamp_of(files)
    odd.write_text("file,caption\n", encoding="utf-8")
    assert stamp_of(files) != before
    odd.unlink()
    with pytest.raises(SapError, match=r"captions\.csv cannot be read"):
        stamp_of(files)
