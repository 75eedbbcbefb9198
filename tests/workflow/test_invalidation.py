"""What runs again after an edit: every key of the config, code, data files; server-side edits train nobody.

Most studies here only look finished (see dry_runs.pretend_finished); what is said of them is checked on a real one.
"""

import ast
import copy
import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from sap.io import read_jsonl
from sap.pipeline import build_study, stages
from sap.plan.schema import schema
from sap.plan.stage import UPLOAD
from sap.plan.study import Study
from tests.house.test_options import keys_of
from tests.workflow.dry_runs import planned, pretend_finished
from tests.workflow.small_study import EVERYTHING, MINI, ROOT, Workflow, edited, job_counts

pytestmark = pytest.mark.slow

EDITS = yaml.safe_load((ROOT / "docs/edits.yaml").read_text(encoding="utf-8"))
CASES = [
    (edit.get("study", "digits"), key, value, edit["runs"])
    for edit in EDITS["edits"]
    for key, value in edit["keys"].items()
]


def overlay_of(name: str) -> dict:
    """Config of one of the studies of docs/edits.yaml."""
    overlay = copy.deepcopy(EVERYTHING)
    update_config(overlay, EDITS["studies"][name])
    return overlay


def write_inputs(folder: Path) -> None:
    """Images, weights and captions as the studies name them. No job reads them here."""
    for root in ("images", "images_2"):
        for own in (f"{domain}/{name}" for domain in MINI["data"]["domains"] for name in ("cat", "dog")):
            (folder / root / own).mkdir(parents=True)
            for image in ("1.png", "3.png", "4.png", "5.png"):
                (folder / root / own / image).touch()
    for own in (f"{root}/{name}" for root in ("public", "public_2") for name in ("cat", "dog")):
        (folder / own).mkdir(parents=True)
        for image in range(4):
            (folder / own / f"{image}.png").touch()
    for name in ("photos", "photos_2"):
        (folder / name).mkdir()
        (folder / name / "captions.csv").write_text("file,caption\n" + "1.png,one\n" * 8, encoding="utf-8")
    for name in ("weights.pt", "weights_2.pt", "captions.json", "captions_2.json"):
        (folder / name).write_text("{}", encoding="utf-8")
    for name in ("model.json", "model_2.json"):
        (folder / name).write_text(json.dumps({"vision_cfg": {"image_size": 16}}), encoding="utf-8")


def everything_study() -> Study:
    """The plan of EVERYTHING."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    update_config(config, EVERYTHING)
    return build_study(config)


def assert_runs(found: dict[str, int], expected: list[str] | dict[str, int]) -> None:
    """The stages, and the numbers of jobs where they are given."""
    assert (found if isinstance(expected, dict) else sorted(found)) == (
        expected if isinstance(expected, dict) else sorted(expected)
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Folder of a study of docs/edits.yaml that looks finished, by name. Dry runs only; others take `damaged`."""

    @cache
    def finished(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        write_inputs(folder)
        pretend_finished(folder, overlay_of(name))
        assert planned(folder, overlay_of(name)) == {}
        return folder

    return finished


# --- keys of the config ----------------------------------------------------------------------------------------------


def test_every_key_says_what_its_edit_runs():
    """But train.lora.towers, whose other value no study can have: evidence.towers trains those clients."""
    told = {".".join("N" if part.isdigit() else part for part in key.split(".")) for _, key, _, _ in CASES}
    assert set(keys_of(schema())) - {"train.lora.towers"} == told


@pytest.mark.parametrize(("name", "key", "value", "expected"), CASES, ids=[f"{case[0]}: {case[1]}" for case in CASES])
def test_an_edit_runs_its_stage_and_later_ones_only(study, name, key, value, expected):
    assert_runs(planned(study(name), edited(key, value, overlay_of(name))), expected)


def test_what_looks_finished_is_planned_like_what_is(everything):
    """A real study, and Snakemake called as users call it, on one key of each kind."""
    chosen = ("evaluate.batch_size", "points.1.criterion", "anchors.sizes", "train.lora.rank", "seeds", "data.name")
    for _, key, value, expected in [case for case in CASES if case[:1] == ("digits",) and case[1] in chosen]:
        assert_runs(everything.planned(edited(key, value, EVERYTHING)), expected)


def test_no_edit_of_the_servers_settings_trains_anyone():
    """Attackers and recipes are no server's settings: who attacks labels or images, or trains otherwise, does train."""
    server = ("points.", "anchors.", "statistics.", "data.digits.anchors", "experiment")
    cases = [(key, expected) for _, key, _, expected in CASES if key.startswith(server)]
    cases = [(key, expected) for key, expected in cases if "attack" not in key and "recipe" not in key]
    assert len(cases) > 20
    assert all("train_client" not in expected for _, expected in cases)


def test_swapping_two_values_trains_again(study):
    """The defaults are warmup 0.1 and weight decay 0."""
    swapped = edited("train.weight_decay", 0.1, edited("train.warmup", 0.0, EVERYTHING))
    assert "train_client" in planned(study("digits"), swapped)


def test_the_params_of_a_job_cannot_be_mistaken_for_one_another(study):
    """Snakemake compares the set of a job's params without their names: two of one form could swap unnoticed."""
    folder = study("digits")
    made = everything_study()
    point = next(point.id for point in made.points if point.gradients)
    for on_demand in (
        made.folder("prune", point=point, trainee="printed", seed=0),
        made.folder("merge", point=point, target="sketch", seed=0),
    ):
        pretend_finished(folder, EVERYTHING, f"{on_demand}/meta.json")
    records = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (folder / ".snakemake/metadata").rglob("*")
        if path.is_file()
    ]
    assert {record["rule"] for record in records} == set(stages())
    for record in records:
        forms = [_form(ast.literal_eval(param)) for param in record["params"]]
        assert len(set(forms)) == len(forms), (record["rule"], record["params"])


def _form(param: object) -> object:
    """What kind of thing a param is: keys of settings, folder of a path, a fingerprint, a number, a name, a list."""
    if isinstance(param, list):
        return "list", _form(param[0]) if param else None
    if not isinstance(param, str):
        return type(param)
    if param.startswith("{"):
        return frozenset(json.loads(param))
    if param.startswith("results/"):
        return param.split("/")[1], param.endswith(f"/{UPLOAD}")
    return "fingerprint" if len(param) == 10 and not set(param) - set("0123456789abcdef") else "name"


# --- code ------------------------------------------------------------------------------------------------------------


def copy_library(folder: Path) -> Path:
    """A folder with a copy of what a checkout runs by, which a test may edit."""
    for name in ("src", "workflow", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def edit_code(path: Path) -> None:
    """A statement more: harmless, but another syntax tree."""
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")


@pytest.fixture(scope="module")
def unedited(tmp_path_factory) -> tuple[Path, Path]:
    """(copy of the library, folder of a study that looks finished by it)."""
    library, folder = copy_library(tmp_path_factory.mktemp("library")), tmp_path_factory.mktemp("by-copy")
    pretend_finished(folder, EVERYTHING, library=library)
    return library, folder


@pytest.fixture
def library(unedited, tmp_path):
    """The copy for one test's edits, and what a dry run by it would execute."""
    original, folder = unedited
    edited_copy = Path(shutil.copytree(original, tmp_path / "edited"))
    return edited_copy, lambda: planned(folder, EVERYTHING, library=edited_copy)


def test_comments_docstrings_and_blank_lines_run_nothing(library):
    root, runs = library
    for path in [*root.glob("src/**/*.py"), *root.glob("workflow/scripts/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert text.startswith('"""'), path
        path.write_text('"""In other words: ' + text[3:] + "\n\n# a comment\n", encoding="utf-8")
    assert runs() == {}


@pytest.mark.parametrize("name", EDITS["code"])
def test_changed_code_runs_the_stages_that_import_it_and_later_ones_only(library, name):
    root, runs = library
    edit_code(root / name)
    assert_runs(runs(), EDITS["code"][name])


@pytest.fixture(scope="module")
def on_demand(unedited) -> list[str]:
    """The files of docs/edits.yaml that only a request makes, in the study that looks finished by the copy."""
    made = everything_study()
    pruned, ties = (
        next(point.id for point in made.points if is_it(point.settings))
        for is_it in (
            lambda one: one.get("criterion") == "taylor_absolute" and one["prune_ratio"] and "attack" not in one,
            lambda one: one.get("merge", {}).get("method") == "ties",
        )
    )
    folders = [
        made.folder("prune", point=pruned, trainee="printed", seed=0),
        *(made.folder("merge", point=id, target="sketch", seed=0) for id in (pruned, ties)),
    ]
    library, folder = unedited
    targets = [f"{made_there}/meta.json" for made_there in folders]
    pretend_finished(folder, EVERYTHING, *targets, library=library)
    return targets


@pytest.mark.parametrize("name", EDITS["on_demand"])
def test_changed_code_makes_what_was_asked_for_again_where_it_was_used(unedited, library, on_demand, name):
    root, _ = library
    edit_code(root / name)
    assert planned(unedited[1], EVERYTHING, *on_demand, library=root) == EDITS["on_demand"][name]


# --- data files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_files(study, tmp_path) -> Path:
    """The study with own images, weights and captions, as a copy that a test may damage."""
    return Path(shutil.copytree(study("checkpoint"), tmp_path / "copy", symlinks=True))


@pytest.mark.parametrize("name", EDITS["files"])
def test_a_changed_file_runs_the_stages_that_read_it_and_later_ones_only(own_files, name):
    (own_files / name).write_text(json.dumps({"vision_cfg": {"image_size": 16}, "changed": True}), encoding="utf-8")
    assert_runs(planned(own_files, overlay_of("checkpoint")), EDITS["files"][name])


def test_an_image_that_is_gone_counts_like_one_that_came(own_files):
    (own_files / "images/sketch/cat/1.png").unlink()
    assert_runs(planned(own_files, overlay_of("checkpoint")), EDITS["files"]["images/sketch/cat/2.png"])


def test_later_dates_alone_run_nothing(own_files):
    """A copied data set, a checkout: same names, same content."""
    for name in (*EDITS["files"], "images/sketch", "images/sketch/cat/1.png", "images/.hidden"):
        if "2.png" not in name:
            (own_files / name).touch()
    assert planned(own_files, overlay_of("checkpoint")) == {}


# --- real runs -------------------------------------------------------------------------------------------------------


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.run().stdout


def test_the_metadata_folder_is_not_needed_to_know_that_all_is_there(copied):
    shutil.rmtree(copied.folder / ".snakemake")
    assert copied.planned(MINI) == {}


def rows_of(workflow: Workflow) -> dict[tuple[str, str, str], dict]:
    """Every row by target, point and domain, without its place among the others. Judged again, it has other seconds."""
    return {
        (path.parts[-4], row["point"], row["domain"]): {
            key: value for key, value in row.items() if key not in ("index", "digest")
        }
        for path in workflow.glob("results/evaluate/*/*/seed-0/shard-0/rows.jsonl")
        for row in read_jsonl(path)
    }


def test_one_more_point_is_one_more_row_and_a_changed_method_changes_its_own_rows(copied, tmp_path, monkeypatch):
    before = rows_of(copied)
    copied.configure(edited("points.3.scale", [0.0, 0.5, 2.0, 0.25]))
    assert set(job_counts(copied.run().stdout)) == {"evaluate", "headroom_table", "tables", "figures"}
    after = rows_of(copied)
    assert {name: after[name] for name in before} == before
    assert sorted(target for target, _, _ in after.keys() - before.keys()) == ["printed", "sketch"]

    root = copy_library(tmp_path / "library")
    edit_code(root / "src/sap/merge/ties.py")
    monkeypatch.setenv("PYTHONPATH", str(root / "src"))
    assert set(job_counts(copied.run().stdout)) == {"evaluate", "audit", "tables", "figures"}
    again = rows_of(copied)
    ties = {name for name, row in after.items() if row["settings"].get("merge", {}).get("method") == "ties"}
    assert len(ties) == 6  # one point, two folds, each with its target and two seen domains
    assert {name for name in after if again[name] != after[name]} == ties
    assert all(again[name]["predictions"] == after[name]["predictions"] for name in ties)
