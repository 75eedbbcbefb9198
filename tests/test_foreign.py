"""The door for files of others: what is no regular file of a bounded size is refused before a byte of it is parsed."""

import os
import struct

import pytest

from sap.errors import SapError
from sap.foreign import HEADER_BYTES, JSON_BYTES, JSON_DEPTH, read_json, regular_file, tensor_file
from sap.io import digests_of, load_tensors, open_tensors, read_meta, sealed, verified, write_json


def a_pipe(path):
    os.mkfifo(path)


def a_link_to_a_device(path):
    path.symlink_to("/dev/zero")


def a_folder(path):
    path.mkdir()


@pytest.mark.parametrize("make", [a_pipe, a_link_to_a_device, a_folder])
def test_what_would_never_end_is_refused_by_every_reader_of_files_of_others(tmp_path, make):
    make(tmp_path / "meta.json")  # beside every other file, whose reader looks into it
    make(tmp_path / "other")
    (tmp_path / "weights").write_bytes(b"")
    for read in (regular_file, read_json, tensor_file, load_tensors, open_tensors):
        with pytest.raises(SapError, match="other is not a regular file"):
            read(tmp_path / "other")
    for read in (read_meta, digests_of, lambda folder: verified(folder / "weights")):
        with pytest.raises(SapError, match=r"meta\.json is not a regular file"):
            read(tmp_path)


def test_a_link_to_a_regular_file_is_one(tmp_path):
    write_json(tmp_path / "there.json", {"a": [1]})
    (tmp_path / "here.json").symlink_to("there.json")
    assert read_json(tmp_path / "here.json") == {"a": [1]}


def test_sizes_are_bounded_before_parsing(tmp_path, monkeypatch):
    monkeypatch.setattr("json.loads", lambda *_, **__: pytest.fail("it was parsed"))
    path = tmp_path / "meta.json"
    with path.open("wb") as handle:
        handle.truncate(300_000_000)  # as large as in the issue, and takes no space
    with pytest.raises(SapError, match=r"meta\.json has 300000000 bytes, a file of this kind at most"):
        read_meta(tmp_path)
    with pytest.raises(SapError, match=f"at most {JSON_BYTES}"):
        read_json(path)


@pytest.mark.parametrize("header", [HEADER_BYTES + 1, 2**63, 2**64 - 1])
def test_a_header_too_long_is_refused_before_it_is_parsed(tmp_path, monkeypatch, header):
    monkeypatch.setattr("safetensors.safe_open", lambda *_, **__: pytest.fail("it was opened"))
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", header) + b"{" * 100)
    with pytest.raises(SapError, match=rf"cannot be read \(its header would have {header} bytes"):
        load_tensors(path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000 + "]" * 200_000,
        '{"a":' * 170_000 + "1" + "}" * 170_000,
        "[" * (JSON_DEPTH + 1) + "]" * (JSON_DEPTH + 1),
        "[" * 900 + "]" * 900,  # Python's own reader takes it; whoever prints or copies it would not
        '{"r": NaN}',
        '{"r": -Infinity}',
        '{"r": ' + "1" * 5000 + "}",
        "",
        "{",
        "\ufeff{}",
        '"\\ud8',
    ],
    ids=lambda text: text[:12],
)
def test_text_that_is_no_json_of_a_sane_depth_is_one_sentence(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SapError, match=r"config\.json cannot be read \("):
        read_json(path)


def test_json_of_a_sane_depth_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("[" * JSON_DEPTH + "1" + "]" * JSON_DEPTH, encoding="utf-8")
    assert isinstance(read_json(path), list)


@pytest.mark.parametrize(
    "files",
    [
        None,
        7,
        "adapter",
        ["weights"],
        {"../other/weights": "0" * 64},
        {"/etc/passwd": "0" * 64},
        {"..": "0" * 64},
        {"": "0" * 64},
        {"weights": 7},
        {"weights": "0" * 63},
        {"weights": None},
    ],
    ids=repr,
)
def test_a_meta_json_whose_files_are_odd_is_one_sentence(tmp_path, files):
    """Sealed as ours are: whoever can write the folder can seal it, too."""
    (tmp_path / "weights").write_bytes(b"w")
    write_json(tmp_path / "meta.json", sealed({"stage": "train_client", "files": files}))
    for read in (read_meta, digests_of, lambda folder: verified(folder / "weights")):
        with pytest.raises(SapError, match=r"meta\.json is damaged \(its `files` must give names in this folder"):
            read(tmp_path)


def test_a_meta_json_without_files_is_one_sentence(tmp_path):
    write_json(tmp_path / "meta.json", sealed({"stage": "train_client"}))
    with pytest.raises(SapError, match=r"its `files` must give .* got None"):
        read_meta(tmp_path)


@pytest.mark.parametrize("content", [[], 7, None, "text", [{"stage": 1, "digest": 2}]], ids=repr)
def test_a_meta_json_that_is_no_object_is_one_sentence(tmp_path, content):
    write_json(tmp_path / "meta.json", content)
    with pytest.raises(SapError, match=r"meta\.json is damaged \(a JSON object was expected"):
        read_meta(tmp_path)


@pytest.mark.parametrize(
    "content", [{}, {"files": [1]}, {"stage": None}, {"author": "somebody", "digest": 3}], ids=repr
)
def test_a_meta_json_of_other_people_names_no_files_of_ours(tmp_path, content):
    (tmp_path / "weights").write_bytes(b"w")
    write_json(tmp_path / "meta.json", content)
    assert read_meta(tmp_path) == content
    assert digests_of(tmp_path) == {}
    assert verified(tmp_path / "weights") == tmp_path / "weights"
