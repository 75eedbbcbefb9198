"""Weights files of strangers: whatever their bytes are, a sentence comes out, and memory stays that of the file."""

import io
import json
import os
import pickle
import zipfile
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from sap.clip import torchfile
from sap.clip.checkpoint import build_model, load_weights, read_config, read_weights
from sap.errors import SapError
from sap.plan.backbones import files_of, input_of
from tests.conftest import TINY_CONFIG

WEIGHTS = {f"visual.block.{i}.weight": torch.arange(12.0).reshape(3, 4) + i for i in range(3)}
SUFFIXES = ("pt", "pth", "bin", "safetensors")


def saved(kind: str) -> bytes:
    """A small file of each format."""
    buffer = io.BytesIO()
    if kind == "safetensors":
        from safetensors.torch import save

        return save(WEIGHTS)
    torch.save({"state_dict": WEIGHTS}, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


def refused(path, words):
    with pytest.raises(SapError, match=words) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_of_each_format_is_read(kind, tmp_path):
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    path.write_bytes(saved(kind))
    found = read_weights(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize("text", ["Hello, these are the weights.\n", "e", "", "{}", "\x00\x00"])
def test_a_text_file_is_no_torch_file(text, tmp_path):
    (tmp_path / "w.pth").write_text(text, encoding="utf-8")
    refused(tmp_path / "w.pth", "is no file of torch.save, which is a zip archive or a pickle; it begins with b")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pointer_and_a_web_page_are_named_as_what_they_are(suffix, tmp_path):
    path = tmp_path / f"w.{suffix}"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 605\n", encoding="utf-8")
    refused(path, "is a Git-LFS pointer.*git lfs pull")
    for page in ("<!DOCTYPE html>\n<html>", "\ufeff\n <HTML><body>Sign in</body>", '<?xml version="1.0"?><Error/>'):
        path.write_text(page, encoding="utf-8")
        refused(path, "is a web page")


def test_a_config_that_is_a_page_or_a_pointer_is_named_so_too(tmp_path):
    path = tmp_path / "open_clip_config.json"
    for text, words in (("<html>", "is a web page"), ("version https://git-lfs.github.com/spec/v1", "Git-LFS pointer")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SapError, match=words):
            read_config(path)
        with pytest.raises(SapError, match=f"backbone.checkpoint: .*{words}"):
            input_of({"backbone": {"kind": "checkpoint", "checkpoint": str(tmp_path), "model_config": None}})


def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "is not a regular file")
    with pytest.raises(SapError, match="is not a regular file"):
        files_of(
            {"kind": "checkpoint", "checkpoint": str(tmp_path / "w.pt"), "model": "ViT-B-32", "model_config": None}
        )
    refused(tmp_path / "gone.pt", "does not exist. Name a file that does")


def repacked(path, change, compression=zipfile.ZIP_STORED):
    """The zip file of torch.save with one entry after another passed through `change(name, content)`."""
    with zipfile.ZipFile(io.BytesIO(saved("zip"))) as before, zipfile.ZipFile(path, "w", compression) as after:
        for entry in before.infolist():
            after.writestr(entry.filename, change(entry.filename, before.read(entry)))
    return path


@pytest.fixture
def torch_load_is_not_reached(monkeypatch):
    monkeypatch.setattr(torchfile.torch, "load", lambda *args, **options: pytest.fail("the file was unpacked"))


@pytest.mark.parametrize("entry", ["data.pkl", "data/0"])
def test_an_entry_that_inflates_to_many_times_the_file_is_not_unpacked(entry, tmp_path, torch_load_is_not_reached):
    def inflated(name, content):
        return content + bytes(2**25) if name.endswith(entry) else content

    path = repacked(tmp_path / "w.pt", inflated, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**17
    refused(path, r"unpacks to 335\d+ bytes, \d+ times its size")


def pairs_of_pairs(depth: int) -> bytes:
    """Each pair holds the one before it twice: hashing the last takes 2^depth steps."""
    return b"".join(b"q%ch%c\x86" % (number, number) for number in range(depth))


@pytest.mark.parametrize(
    "nested", [pairs_of_pairs(40), b"\x85" * 300_000, b"K\x01\x86" * 9], ids=["twice", "deep", "pairs"]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_key_of_tuples_in_tuples_is_never_hashed(nested, zipped, tmp_path, torch_load_is_not_reached):
    """torch hashes it in one call that no signal ends, or that overflows the stack."""
    pickled = b"\x80\x02}K\x01" + nested + b"K\x01s."
    if zipped:
        path = repacked(tmp_path / "w.pt", lambda name, content: pickled if name.endswith("data.pkl") else content)
    else:
        path = tmp_path / "w.pt"
        path.write_bytes(pickled)
    refused(path, "holds tuples nested more than 8 deep")


def test_a_plain_pickle_is_named_as_one(tmp_path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": 1}))
    refused(tmp_path / "w.pt", "is a plain pickle, not a file of torch.save")


def test_a_pickle_larger_than_any_state_dicts_is_not_unpacked(tmp_path, torch_load_is_not_reached):
    long = pickle.dumps(list(range(4 * 10**6)), protocol=2)
    refused(
        repacked(tmp_path / "w.pt", lambda name, c: long if name.endswith("data.pkl") else c), "its pickle has more"
    )
    legacy = saved("legacy")
    (tmp_path / "legacy.pt").write_bytes(legacy[: legacy.index(b"\x80", 1)] + long)
    refused(tmp_path / "legacy.pt", "its pickle has more")


class Zeros:
    """Pickled as the call bytearray(n): of some 40 bytes torch would make n."""

    def __reduce__(self):
        return bytearray, (640_000_000,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_call_that_makes_memory_of_a_number_is_not_followed(zipped, tmp_path, torch_load_is_not_reached):
    torch.save({"a": Zeros()}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "w.pt", "holds a bytearray")


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(1).expand(2000, 2000), "its tensors have more numbers than the file"),
        (torch.eye(3).to_sparse(), "a is no plain tensor"),
        (torch.zeros(3, device="meta"), "a is no plain tensor"),
    ],
    ids=["expanded", "sparse", "without data"],
)
def test_tensors_that_are_not_their_numbers_one_by_one_are_refused(tensor, words, tmp_path):
    torch.save({"a": tensor}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", words)


def test_weights_of_another_kind_of_number_are_refused(tmp_path):
    model = build_model(TINY_CONFIG, "tiny")
    weights = model.state_dict()
    for dtype in (torch.int8, torch.complex64, torch.float8_e4m3fn):
        odd = weights | {"visual.proj": torch.zeros(32, 16).to(dtype)}
        with pytest.raises(SapError, match=rf"visual\.proj holds {dtype}, not plain floating-point numbers"):
            load_weights(model, odd, "w.pt")


def test_names_of_a_layout_that_the_file_does_not_have_are_one_sentence():
    model = build_model(TINY_CONFIG, "tiny")
    with pytest.raises(SapError, match=r"w\.pt: its names look like those of a layout that open_clip converts"):
        load_weights(model, {"image_encoder.model.patch_embed.0.rbr_conv.0.conv.weight": torch.zeros(1)}, "w.pt")


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "delete", "insert", "cut"]), st.floats(0, 1, exclude_max=True), st.binary(max_size=8)
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits) -> bytes:
    """Bytes overwritten, deleted, inserted, or cut off, at a share of the length."""
    for kind, place, new in edits:
        at = int(place * len(content))
        after = {"set": at + len(new), "delete": at + 3 * len(new), "insert": at, "cut": len(content)}[kind]
        content = content[:at] + (b"" if kind in ("delete", "cut") else new) + content[after:]
    return content


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_only_sentences_come_of_damaged_and_hostile_bytes(kind, tmp_path):
    path, content = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt"), saved(kind)
    model = build_model(TINY_CONFIG, "tiny")

    @given(EDITS)
    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(edits):
        path.write_bytes(edited(content, edits))
        with pytest.raises(SapError):  # those that can still be read do not belong to the model
            load_weights(model, read_weights(path), path)

    check()


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_only_sentences_come_of_a_pickle_of_any_instructions(kind, tmp_path):
    """The object's own pickle is edited, so that checksums and headers still fit."""
    content = saved(kind)
    if kind == "zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
            pickled = archive.read(name)
    else:
        start = content.index(b"state_dict") - 12
        pickled = content[start:]

    @given(EDITS)
    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(edits):
        new = edited(pickled, edits)
        if kind == "zip":
            repacked(tmp_path / "w.pt", lambda name, c: new if name.endswith("data.pkl") else c)
        else:
            (tmp_path / "w.pt").write_bytes(content[:start] + new)
        with suppress(SapError):  # some edits change a number only
            read_weights(tmp_path / "w.pt")

    check()


def test_a_config_nested_deeper_than_python_follows_is_one_sentence(tmp_path):
    (tmp_path / "m.json").write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(SapError, match=r"m\.json cannot be read"):
        read_config(tmp_path / "m.json")
    settings_ = {"backbone": {"kind": "checkpoint", "checkpoint": "w.pt", "model_config": str(tmp_path / "m.json")}}
    with pytest.raises(SapError, match=r"backbone\.model_config: .*m\.json is no readable JSON file"):
        input_of(settings_)


def test_a_safetensors_header_of_odd_types_is_one_sentence(tmp_path):
    for entry in ({"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}, {"dtype": "F31"}, 7):
        header = json.dumps({"a": entry}).encode()
        (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        refused(tmp_path / "w.safetensors", "cannot be read")
    save_file({"a": torch.zeros(2)}, str(tmp_path / "w.safetensors"))
    assert set(read_weights(tmp_path / "w.safetensors")) == {"a"}
