"""Reasons in words: settings of new ids, modules behind fingerprints, points that come and go."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sap.pipeline import build_study
from sap.plan import fingerprint as fingerprints
from sap.plan.code import changed_parts, code_of, store_code
from sap.plan.differences import differences, nearest
from sap.plan.folds import shard_plan
from sap.plan.manifest import store_codes, store_plan, update_index
from sap.plan.why import Planned, explain


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def first_folder(study, stage: str) -> str:
    return next(job.folder for job in study.jobs if job.stage.name == stage)


def training(study) -> Planned:
    folder = study.clients[0].folder(0)
    return Planned("train_client", {}, (f"{folder}/meta.json",), f"Missing output files: {folder}/meta.json")


@pytest.fixture
def before(config):
    """A study of which one client's files are there."""
    study = build_study(config)
    update_index(study)
    Path(study.clients[0].folder(0)).mkdir(parents=True)
    return study


def test_a_new_id_is_explained_by_the_settings_in_which_it_differs(before, changed):
    after = build_study(changed("train.learning_rate", 0.005))
    update_index(after)
    old, new = before.settings["train"]["learning_rate"], 0.005
    assert explain(after, [training(after)]) == [
        "train_client: 1 job",
        f"  new settings beside {before.clients[0].train_id}: train.learning_rate {old} -> {new}",
    ]


@pytest.mark.parametrize("stage", ["headroom", "probe", "privacy"])
def test_a_new_id_of_a_stage_behind_the_claims_is_explained(stage, evidence):
    """The others have no such setting: theirs point upstream."""
    before = build_study(evidence)
    update_index(before)
    Path(first_folder(before, stage)).mkdir(parents=True)
    evidence["evidence"]["images"] = 50
    after = build_study(evidence)
    update_index(after)
    folder = first_folder(after, stage)
    job = Planned(stage, {}, (f"{folder}/meta.json",), f"Missing output files: {folder}/meta.json")
    assert explain(after, [job])[1].endswith("images 2000 -> 50")


def test_rows_that_failed_are_the_reason_why_their_job_runs_again(before):
    path = f"{before.folder('audit', target='photo', seed=0)}/failed.jsonl"
    job = Planned("audit", {}, (path,), f"Missing output files: {path}")
    assert explain(before, [job]) == ["audit: 1 job", "  rows of it failed the last time"]


def test_an_id_whose_own_settings_stayed_points_upstream(before, changed):
    after = build_study(changed("backbone.scratch.steps", 601))
    update_index(after)
    assert (
        f"the settings of {before.clients[0].train_id}, on top of something that is new"
        in explain(after, [training(after)])[1]
    )


def test_nothing_is_compared_with_an_id_that_has_no_files(config, changed):
    update_index(build_study(config))
    after = build_study(changed("train.learning_rate", 0.005))
    update_index(after)
    assert explain(after, [training(after)])[1].endswith("nor any of other settings")


def test_equal_reasons_are_counted(config):
    study = build_study(config)
    jobs = [Planned("tables", {}, (f"results/tables/{number}",), "Forced execution") for number in range(3)]
    jobs.append(
        Planned("tables", {}, ("results/tables/last",), "Forced execution; Code has changed since last execution")
    )
    assert explain(study, jobs)[:3] == [
        "tables: 4 jobs",
        "  it is forced on the command line",
        "  1 of them: its rule's command was edited",
    ]


def test_the_nearest_id_is_the_one_with_the_fewest_differences():
    index = {("s", "a"): {"x": 1, "y": 1}, ("s", "b"): {"x": 2, "y": 1}, ("s", "c"): {"x": 2, "y": 2}, ("t", "d"): {}}
    assert nearest(index, "s", "c", lambda name: True) == ("b", ["y 1 -> 2"])
    assert nearest(index, "s", "c", lambda name: name == "a") == ("a", ["x 1 -> 2", "y 1 -> 2"])
    assert nearest(index, "t", "d", lambda name: True) is None


def test_differences_name_dotted_paths_and_what_came_or_went():
    old, new = {"a": {"b": 1, "c": [1]}, "d": {}}, {"a": {"b": 2, "c": [1]}, "e": None, "d": {"f": "g"}}
    assert differences(old, new) == ["a.b 1 -> 2", "d {} -> null", "d.f null -> g"]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package `sap` with a -> b; returns a function that edits b."""
    (tmp_path / "a.py").write_text("from sap import b\n", encoding="utf-8")
    (tmp_path / "b.py").write_text("X = 1\n", encoding="utf-8")
    monkeypatch.setattr(fingerprints, "ROOT", tmp_path)
    caches = (code_of, fingerprints.fingerprint, fingerprints._parsed, fingerprints._tree, fingerprints._imports)

    def clear() -> None:
        for cached in caches:
            cached.cache_clear()

    def edit(text: str) -> None:
        (tmp_path / "b.py").write_text(text, encoding="utf-8")
        clear()

    clear()
    yield edit
    clear()


def test_an_edited_module_is_named(toy, config):
    old = code_of((), "sap.a")
    store_code((), "sap.a")
    toy("X = 2\n")
    new = code_of((), "sap.a")
    store_code((), "sap.a")
    assert changed_parts(old, new) == ["sap.b"]
    reason = (
        "Params have changed since last execution: Union of exclusive params before and now across all output: "
        f"before: '{old}' now: '{new}' "
    )
    lines = explain(None, [Planned("figures", {}, ("results/figures/x/main.pdf",), reason)])
    assert lines[:2] == ["figures: 1 job", "  its code was edited: sap.b"]
    assert "snakemake --touch" in lines[-1]


def test_code_that_nobody_wrote_down_is_said_to_be_unknown():
    assert changed_parts("0123456789", "9876543210") is None


def test_a_package_version_counts_where_the_config_says_so(config, changed, monkeypatch):
    plain = build_study(config)
    assert code_of(plain.counted_packages, "sap.train.client") == fingerprints.fingerprint("sap.train.client")
    chosen = build_study(config | {"versions": {"invalidate": ["torch"]}})
    before = code_of(chosen.counted_packages, "sap.train.client")
    assert before != fingerprints.fingerprint("sap.train.client")
    store_code(chosen.counted_packages, "sap.train.client")
    code_of.cache_clear()
    monkeypatch.setattr("sap.plan.code.version_of", lambda package: "99.0")
    after = code_of(chosen.counted_packages, "sap.train.client")
    store_code(chosen.counted_packages, "sap.train.client")
    code_of.cache_clear()
    assert changed_parts(before, after) == ["the package torch"]


def test_points_that_came_are_named_by_their_plans(config, changed):
    before, after = build_study(config), build_study(changed("points.4.prune_ratio", [0.1, 0.3, 0.5, 0.9]))
    old, new = (store_plan(shard_plan(study, "photo", 0, 0), "evaluate") for study in (before, after))
    reason = f"Params have changed since last execution: before: '{old}' now: '{new}' "
    output = f"{after.folder('evaluate', target='photo', seed=0, shard=0)}/rows.jsonl"
    wildcards = {"target": "photo", "seed": "0", "shard": "0"}
    lines = explain(after, [Planned("evaluate", wildcards, (output,), reason)])
    assert lines[1].startswith("  6 new points: ")  # one ratio × three anchor sizes × two merges
    assert lines[2] == "  all its rows wait for uploads that are not there yet"


def test_a_plan_without_points_names_what_differs(evidence):
    study = build_study(evidence)
    plan = study.stages["headroom"].plan(study, domain="photo", seed=0)
    old, new = (store_plan(each, "headroom") for each in (plan, replace(plan, images=50)))
    reason = f"Params have changed since last execution: before: '{old}' now: '{new}' "
    output = f"{study.folder('headroom', domain='photo', seed=0)}/meta.json"
    assert explain(study, [Planned("headroom", {}, (output,), reason)])[1] == "  its plan has other images"


def test_what_every_points_code_stands_for_is_kept(config):
    study = build_study(config)
    store_codes(study)
    plan = shard_plan(study, "photo", 0, 0)
    codes = {point.code for point in plan.points}
    assert {f"code-{code}.json" for code in codes} == {path.name for path in Path("results/plans").glob("code-*")}
    ties = next(p for p in plan.points if p.settings.get("merge", {}).get("method") == "ties")
    assert "sap.merge.ties" in json.loads(Path(f"results/plans/code-{ties.code}.json").read_text(encoding="utf-8"))


def test_jobs_named_by_the_plan_are_the_ones_that_are_explained(config):
    study = build_study(config)
    stages = [job.stage.name for job in study.jobs]
    assert stages.index("train_client") < stages.index("score_client") < stages.index("evaluate")
