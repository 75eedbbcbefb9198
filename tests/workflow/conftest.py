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
def everything(tmp_path_factory, worker_id) -> Workflow:
    """The small study with every stage, after one run."""
    return _run_once(EVERYTHING, tmp_path_factory.getbasetemp(), worker_id)


@pytest.fixture
def copied(finished, tmp_path) -> Workflow:
    """The finished study as a copy that a test may damage."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return Workflow(tmp_path / "copy", MINI)


def _run_once(study: dict, root: Path, worker_id: str) -> Workflow:
    root = root if worker_id == "master" else root.parent  # the workers' common folder
    name = study["experiment"]
    with FileLock(root / f"{name}.lock"):
        workflow = Workflow(root / name, study)
        if not (root / f"{name}.done").exists():
            workflow.run()
            (root / f"{name}.done").touch()
    return workflow
