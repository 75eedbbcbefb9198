"""`make` works wherever the repository lies."""

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
