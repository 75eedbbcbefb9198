"""Nothing half-written, and every unreadable file is one sentence with its path and the next step."""

import errno
import os
import socket
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from sap import io
from sap.errors import SapError
from sap.provenance import save_meta


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    io.write_json(path, {"old": 1})

    def write_half():
        with io.atomic(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_half()
    assert io.read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(io.os, "fsync", full)
    with pytest.raises(SapError, match=r"no space left while writing .*a\.safetensors.*run the same command again"):
        io.save_tensors(tmp_path / "a.safetensors", {"x": np.zeros(3)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        (io.read_json, b'{"a": '),
        (io.read_jsonl, b'{"a": 1}\n{"a"'),
        (lambda path: io.load_tensors(path, "np"), b"\x10\x00\x00\x00\x00\x00\x00\x00{}"),
        (lambda path: io.load_tensors(path, "np"), b""),
    ],
)
def test_a_broken_file_names_itself_and_the_next_step(tmp_path, reader, content):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(SapError, match=r"broken cannot be read .*delete it and run the same snakemake command"):
        reader(path)


@pytest.fixture
def artifact(tmp_path):
    """A folder as a stage leaves it; "loss" has integer keys, which JSON does not know."""
    io.save_tensors(tmp_path / "x.safetensors", {"x": np.arange(40.0)})
    io.write_csv(tmp_path / "x.csv", [{"a": 1}], ["a"])
    (tmp_path / ".progress.json").write_text("{}", encoding="utf-8")
    save_meta(tmp_path, {"stage": "train_client", "loss": {16: 0.5, 8: 0.25, 4: 1e-7}, "size": (3, 4), "seconds": 1.5})
    return tmp_path


def test_meta_names_every_file_of_the_artifact_and_is_itself_intact(artifact):
    meta = io.read_meta(artifact)
    assert set(meta["files"]) == {"x.safetensors", "x.csv"}
    assert meta["loss"] == {"16": 0.5, "8": 0.25, "4": 1e-7}
    assert io.verified(artifact / "x.csv") == artifact / "x.csv"
    assert set(io.load_tensors(artifact / "x.safetensors", "np")) == {"x"}


def test_no_flipped_bit_of_a_meta_is_believed(artifact):
    whole = (artifact / "meta.json").read_bytes()
    expected = io.read_meta(artifact)
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 7
        (artifact / "meta.json").write_bytes(changed)
        with suppress(SapError):
            assert io.read_meta(artifact) == expected  # white space


def test_a_flipped_or_cut_file_is_refused_with_the_folder_to_delete(artifact):
    path = artifact / "x.safetensors"
    whole = path.read_bytes()
    for damage in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-8], b""):
        path.write_bytes(damage)
        with pytest.raises(
            SapError, match=rf"x\.safetensors is damaged .*Delete the folder {artifact} and run the same"
        ):
            io.load_tensors(path, "np")


def test_files_without_a_meta_or_with_somebody_elses_are_read_as_they_are(artifact):
    path = artifact / "x.safetensors"
    io.save_tensors(path, {"y": np.zeros(2)})
    io.write_json(artifact / "meta.json", {"author": "somebody", "files": 3})
    assert set(io.load_tensors(path, "np")) == {"y"}
    (artifact / "meta.json").unlink()
    assert set(io.load_tensors(path, "np")) == {"y"}


def test_the_next_writer_removes_what_dead_writers_of_its_file_left(tmp_path):
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    host, dead = socket.gethostname(), int(child.stdout)
    litter = [f".a.json.tmp-{host}-{dead}", f".a.json.tmp-{host}-{dead}.x1y2"]
    kept = [f".a.json.tmp-{host}-{os.getppid()}", f".a.json.tmp-elsewhere-{dead}", f".ba.json.tmp-{host}-{dead}"]
    for name in (litter[0], *kept):
        (tmp_path / name).write_text("half", encoding="utf-8")
    (tmp_path / litter[1]).mkdir()
    (tmp_path / litter[1] / "inside").write_text("half", encoding="utf-8")
    io.write_json(tmp_path / "a.json", {})
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", *kept}


def test_a_missing_file_names_the_command_that_builds_it(tmp_path):
    with pytest.raises(SapError, match=r"is missing\. Build it with: snakemake .*gone\.json"):
        io.read_json(tmp_path / "gone.json")


def test_equal_tensors_and_notes_give_equal_bytes_in_every_process(tmp_path):
    code = "import sys, numpy; from sap.io import save_tensors; "
    code += "save_tensors(sys.argv[1], {'x': numpy.ones(2), 'y': numpy.zeros(1)}, {k: k for k in 'abcdefgh'})"
    for number in range(3):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{number}.safetensors")], check=True)
    assert len({io.digest_file(path) for path in tmp_path.iterdir()}) == 1


def test_seeds_depend_on_every_name_and_on_nothing_else():
    seeds = {
        io.seed_of("lora", "photo", 0),
        io.seed_of("lora", "photo", 1),
        io.seed_of("lora", "sketch", 0),
        io.seed_of("x", "photo", 0),
    }
    assert len(seeds) == 4
    assert io.seed_of("a", "b") != io.seed_of("ab")
    assert io.seed_of("lora", 0) == io.seed_of("lora", "0") == 3652073636025371307
