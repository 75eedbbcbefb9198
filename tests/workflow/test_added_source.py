"""docs/adding-a-data-source.md, word by word; and a source's code counts where it is read, and nowhere else."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from sap.data.images import Geometry, fit
from sap.data.store import open_store
from sap.io import read_json
from tests.data.image_files import picture
from tests.workflow.dry_runs import planned, pretend_finished
from tests.workflow.small_study import MINI, ROOT, job_counts
from tests.workflow.test_invalidation import copy_library, edit_code, overlay_of, write_inputs

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/adding-a-data-source.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.S))
OVERLAY = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1])
DOMAINS, CLASSES = ("clay", "ink", "wax"), ("bird", "cat")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A copy of the library that tests may edit, and studies that look finished by it: of folders, of digits."""
    root = copy_library(tmp_path_factory.mktemp("library"))
    studies = {}
    for name in ("checkpoint", "digits"):
        folder = tmp_path_factory.mktemp(name)
        write_inputs(folder)
        pretend_finished(folder, overlay_of(name), library=root)
        studies[name] = folder
    return root, studies


@pytest.fixture
def edited_library(library, tmp_path):
    """A copy of the copy, and what dry runs by it would execute on one of the studies."""
    root = Path(shutil.copytree(library[0], tmp_path / "edited"))
    return root, lambda study: planned(library[1][study], overlay_of(study), library=root)


def added_to(root: Path) -> None:
    """Do what the page says."""
    shutil.copytree(ROOT / "docs", root / "docs")
    shutil.copy(ROOT / "config.yaml", root)
    for name, text in FILES.items():
        (root / name).write_text(text, encoding="utf-8")
    run(root, root, "docs/generate.py")


def run(root: Path, folder: Path, *command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "SAP_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    found = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


def pictures(domain: str) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of a domain: six of each class, no two alike."""
    first = 100 * DOMAINS.index(domain)
    images = np.stack([np.asarray(picture((40, 30), seed=first + i).convert("RGB")) for i in range(12)])
    return images, np.array([CLASSES[i % 2] for i in range(12)])


def test_a_source_is_one_file():
    assert list(FILES) == ["src/sap/data/sources/npz.py"]


def test_a_new_source_is_in_schema_and_docs_and_runs_nothing_of_the_others_again(edited_library):
    root, runs = edited_library
    added_to(root)
    schema = read_json(root / "src/sap/plan/config.schema.json")["properties"]["data"]["properties"]["source"]
    assert schema["enum"] == ["digits", "folder", "npz"]
    assert "`npz` reads root/DOMAIN.npz" in (root / "docs/configuration.md").read_text(encoding="utf-8")
    assert runs("checkpoint") == runs("digits") == {}


def test_the_pages_source_is_planned_decoded_and_split_and_its_own_edit_decodes_again(
    edited_library, tiny_clip_folder, tmp_path
):
    root, _ = edited_library
    added_to(root)
    study = tmp_path / "study"
    (study / "archives").mkdir(parents=True)
    for domain in DOMAINS:
        images, labels = pictures(domain)
        np.savez(study / f"archives/{domain}.npz", images=images, labels=labels)
    overlay = copy.deepcopy(MINI) | {"backbone": {"kind": "checkpoint", "checkpoint": str(tiny_clip_folder)}}
    overlay |= {"evaluate": {"targets": ["ink"]}, "partition": {"min_size": 1}, **OVERLAY}
    overlay["data"]["root"] = "archives"
    (study / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    command = ["-m", "snakemake", "--cores", "2", "--snakefile", str(root / "Snakefile")]
    command += ["--configfile", "overlay.yaml", "--until", "prepare_domain"]
    run(root, study, *command)
    folders = {path.name: path for path in study.glob("results/prepare_domain/arrays-*/*")}
    assert set(folders) == set(DOMAINS)
    for domain in DOMAINS:
        store, (images, labels) = open_store(folders[domain]), pictures(domain)
        assert [CLASSES[label] for label in store.labels] == labels.tolist()
        assert {len(store.rows(split)) for split in ("train", "val", "test")} == {6, 2, 4}
        last = fit(picture((40, 30), seed=100 * DOMAINS.index(domain) + 11), Geometry(store.images.shape[1]))
        assert np.array_equal(store.images[np.array([11])][0], last)
    assert job_counts(run(root, study, *command, "--dry-run")) == {}
    edit_code(root / "src/sap/data/sources/folder.py")
    np.savez(study / "archives/wax.npz", images=images[:10], labels=labels[:10])
    assert job_counts(run(root, study, *command)) == {"prepare_domain": 1}
    assert len(open_store(folders["wax"]).images) == 10
    edit_code(root / "src/sap/data/sources/npz.py")
    assert job_counts(run(root, study, *command, "--dry-run")) == {"prepare_domain": 3}


@pytest.mark.parametrize(
    ("name", "study", "first"),
    [
        ("digits", "digits", {"prepare_domain": 3, "prepare_backbone": 1, "draw_anchors": 2}),
        ("folder", "digits", {}),
        ("coco", "digits", {}),
        ("folder", "checkpoint", {"prepare_domain": 3}),
        ("coco", "checkpoint", {"draw_anchors": 1}),
        ("digits", "checkpoint", {}),
    ],
)
def test_a_sources_code_counts_in_the_jobs_that_read_it_and_in_no_others(edited_library, name, study, first):
    root, runs = edited_library
    edit_code(root / f"src/sap/data/sources/{name}.py")
    found = runs(study)
    reading = ("prepare_domain", "prepare_backbone", "draw_anchors")
    assert {stage: found[stage] for stage in reading if stage in found} == first
    assert bool(found) == bool(first)
