"""What a disk, a folder or the memory refuses is one sentence with the next step, in every script and every writer."""

import errno
import os
import subprocess
import sys

import pytest

from sap import io
from sap.errors import SapError, not_written, out_of_memory

SCRIPT = """
import argparse, errno, os, resource
from pathlib import Path
from sap.cli import run

def main(args):
    {body}

run(main, argparse.ArgumentParser().parse_args)
"""
FILE_LIMIT = "import numpy; from sap import io; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "


def said(body, folder):
    """What a script with this body says on stderr."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert found.returncode == 1
    return found.stderr


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("raise OSError(errno.EROFS, os.strerror(errno.EROFS), 'results/a')", "results/a cannot be written: its file"),
        ("raise PermissionError(errno.EACCES, 'Permission denied', 'results/a')", "access to results/a is denied"),
        (FILE_LIMIT + "Path('a').write_bytes(bytes(2000))", "a file became larger than a file may be here"),
        (FILE_LIMIT + "io.write_text('a.txt', 'a' * 2000)", "a.txt became larger than a file may be here"),
        (FILE_LIMIT + "io.save_tensors('a.safetensors', {'x': numpy.zeros(2000)})", "a.safetensors became larger than"),
        (FILE_LIMIT + "io.write_csv('a.csv', [{'x': 'a' * 2000}], ['x'])", "a.csv became larger than a file may be"),
        ("import numpy; numpy.empty(2**50)", "memory ran out where 8.00 PiB more were asked for"),
        ("import torch; torch.empty(2**50)", "memory ran out where 4503599627370496 bytes more were asked for"),
        ("raise MemoryError", "memory ran out. Run fewer jobs at a time"),
    ],
    ids=["read-only", "not permitted", "too large", "text", "tensors", "csv", "numpy", "torch", "memory"],
)
def test_a_script_that_is_refused_something_says_so_in_one_line(body, sentence, tmp_path):
    printed = said(body, tmp_path)
    assert printed.startswith(f"error: {sentence}")
    assert printed.endswith("and run the same command again.\n")
    assert printed.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.name != "a"]  # nothing half-written


def test_any_other_exception_is_a_fault_of_ours_and_keeps_its_traceback(tmp_path):
    assert "Traceback" in said("open('not/there', encoding='utf-8')", tmp_path)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("refused", ["mkdir", "fsync"])
def test_a_folder_that_cannot_be_written_is_named_with_the_next_step(tmp_path, monkeypatch, code, refused):
    def refuse(*_given, **_options):
        raise OSError(code, os.strerror(code), *([str(tmp_path / "results")] if refused == "mkdir" else []))

    monkeypatch.setattr(io.Path if refused == "mkdir" else io.os, refused, refuse)
    with pytest.raises(SapError, match=r"results/deep/a\.json .*run the same command again"):
        io.write_json(tmp_path / "results/deep/a.json", {})


def test_a_refusal_of_another_file_is_not_said_of_the_one_that_is_written(tmp_path):
    def read_inside():
        with io.atomic(tmp_path / "out/a.npy"):
            raise PermissionError(errno.EACCES, "Permission denied", "/images/1.png")

    with pytest.raises(PermissionError, match=r"1\.png"):
        read_inside()


def test_a_file_that_may_not_be_read_or_does_not_fit_is_not_to_be_deleted():
    for error in (PermissionError(errno.EACCES, "Permission denied"), OSError(errno.ENOMEM, "Cannot allocate memory")):
        assert "delete" not in str(io.unreadable("results/a", error)).lower()


def test_other_errors_are_none_of_these():
    for error in (FileNotFoundError(2, "No such file"), ValueError("x"), RuntimeError("shape"), SapError("no space")):
        assert not_written(error) is None
        assert out_of_memory(error) is None
