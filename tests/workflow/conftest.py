"""One finished run of each small study, shared by all tests of this folder and by all pytest-xdist workers."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.workflow.small_study import EVERYTHING, MINI, Workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> Workflow:
    """The small study after one run. Tests that damage it must take `copied`."""
    return _run_once(MINI, tmp_path_factory.getbasetemp(), worker_id)


@pytest.fixture(scope="session")
def everything(finished, tmp_path_factory, worker_id) -> Workflow:
    """The small study with every stage, after one run. What it shares with `finished` is taken from there."""
    return _run_once(EVERYTHING, tmp_path_factory.getbasetemp(), worker_id, finished)


@pytest.fixture
def copied(finished, tmp_path) -> Workflow:
    """The finished study as a copy that a test may damage."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return Workflow(tmp_path / "copy", MINI)


def _run_once(study: dict, root: Path, worker_id: str, begun: Workflow | None = None) -> Workflow:
    """The study after one run, by whichever worker comes first; it goes on from a copy of `begun`."""
    root = root if worker_id == "master" else root.parent  # the workers' common folder
    name = study["experiment"]
    with FileLock(root / f"{name}.lock"):
        if begun and not (root / name).exists():
            shutil.copytree(begun.folder, root / name, symlinks=True)
            _forget(root / name, begun.overlay["experiment"])
        workflow = Workflow(root / name, study)
        if not (root / f"{name}.done").exists():
            workflow.run()
            (root / f"{name}.done").touch()
    return workflow


def _forget(folder: Path, experiment: str) -> None:
    """Remove what is named after an experiment: its tables, figures and record. All else belongs to settings."""
    for path in folder.glob(f"results/**/{experiment}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
