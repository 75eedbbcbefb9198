"""Names of folders are data: braces, spaces and umlauts in paths, read in whatever locale, by dry runs alone."""

import os

import pytest

from tests.workflow.dry_runs import planned, pretend_finished
from tests.workflow.small_study import MINI, Workflow, job_counts

pytestmark = pytest.mark.slow

DOMAINS = ("Gemälde", "photo", "sketch")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """(working folder, overlay) of a study that looks finished; every path of its own data has a brace and a space."""
    root = tmp_path_factory.mktemp("names") / "{x} of {data_id}"
    for domain in DOMAINS:
        for name in ("Hund", "Kätzchen"):
            (root / "images" / domain / name).mkdir(parents=True)
            for image in ("1.png", "2.png", "3.png"):
                (root / "images" / domain / name / image).touch()
    (root / "anchors").mkdir()
    (root / "anchors/captions.csv").write_text("file,caption\n" + "1.png,ein Kätzchen\n" * 8, encoding="utf-8")
    (root / "clip").mkdir()
    config = '{"model_cfg": {"embed_dim": 8, "vision_cfg": {"image_size": 32}}}'
    (root / "clip/open_clip_config.json").write_text(config, encoding="utf-8")
    (root / "clip/open_clip_model.safetensors").touch()
    overlay = MINI | {
        "data": {"name": "own", "source": "folder", "root": str(root / "images")},
        "backbone": {"kind": "checkpoint", "checkpoint": str(root / "clip"), "prompts": ["ein {}."]},
        "anchors": {"source": "folder", "root": str(root / "anchors"), "sizes": [4, 8]},
        "evaluate": {},
    }
    pretend_finished(root / "work", overlay)
    return root, overlay


def test_a_finished_study_plans_nothing_whatever_braces_its_paths_have(study):
    root, overlay = study
    assert planned(root / "work", overlay) == {}


def test_a_finished_study_of_umlauts_plans_nothing_in_a_locale_that_is_not_utf8(study, monkeypatch):
    root, overlay = study
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    assert job_counts(Workflow(root / "work", overlay).run("--dry-run").stdout) == {}


@pytest.mark.parametrize(
    ("file", "rule"),
    [("anchors/captions.csv", "draw_anchors"), ("clip/open_clip_model.safetensors", "prepare_backbone")],
)
def test_a_changed_file_under_a_path_with_braces_is_read_again(study, file, rule):
    root, overlay = study
    before = os.stat(root / file)
    try:
        os.utime(root / file, (before.st_mtime + 10, before.st_mtime + 10))
        assert rule in planned(root / "work", overlay)
    finally:
        os.utime(root / file, ns=(before.st_atime_ns, before.st_mtime_ns))
