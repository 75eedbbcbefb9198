"""`make` works wherever the repository lies."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_command_holds_the_path_of_a_clone_which_may_have_a_space(tmp_path):
    clone = tmp_path / "my work" / "{clone}"
    clone.mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    found = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "environment", "run", "status", "clean"],
        cwd=clone,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert ".venv/bin/python -m pip install" in found.stdout
    assert str(tmp_path) not in found.stdout


def test_a_machine_that_forbids_bytecode_does_not_make_every_process_compile_its_imports():
    found = subprocess.run(
        ["make", "--no-print-directory", "--eval", "shown: ; @env", "shown"],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert "PYTHONUTF8=1" in found.stdout
    assert "PYTHONDONTWRITEBYTECODE" not in found.stdout
