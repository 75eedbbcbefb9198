"""A clone of the repository that a test may add files to, beside a copy of a finished study; commands run there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.workflow.small_study import ROOT, Workflow


class Clone:
    """`files` are added to the clone in `root`; `study` is the finished study's copy, run by the clone's workflow."""

    def __init__(self, root: Path, study: Path, finished: Workflow, files: Mapping[str, str], overlay: dict) -> None:
        self.root, self.study, self._overlay = root, study, study.with_suffix(".yaml")
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in listed.splitlines():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name, follow_symlinks=False)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        for name in ("results", ".snakemake"):
            shutil.copytree(finished.folder / name, study / name, symlinks=True)
        for name in ("Snakefile", "config.yaml", "workflow", "profiles"):
            (study / name).symlink_to(root / name)
        self._overlay.write_text(yaml.safe_dump(overlay), encoding="utf-8")

    def python(self, *command: str, folder: Path | None = None) -> str:
        """Run Python in the study, or in `folder`, with the clone's library; returns what it prints."""
        environment = os.environ | {"PYTHONPATH": str(self.root / "src"), "SAP_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        command = (sys.executable, *command)
        found = subprocess.run(
            command, cwd=folder or self.study, env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    def generate(self) -> None:
        """`python docs/generate.py` in the clone."""
        self.python("docs/generate.py", folder=self.root)

    def sap(self, *arguments: str) -> str:
        """The console command, with the study's config where it takes one."""
        return self.python("-c", "from sap.commands.main import main; main()", *arguments)

    def snakemake(self, *arguments: str) -> str:
        return self.python("-m", "snakemake", "--cores", "2", *self.config, *arguments)

    @property
    def config(self) -> tuple[str, str]:
        return "--configfile", str(self._overlay)
