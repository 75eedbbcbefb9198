"""The real workflow with every stage behind the claims: what they say of one another, and what is made of them."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from sap.failures import FAILED
from sap.io import load_tensors, read_csv, read_jsonl, write_text
from sap.pipeline import build_study
from sap.plan.folds import shard_plan
from sap.plan.overlays import read_config
from sap.plan.reporting import report_plan
from sap.plan.study import Study
from sap.plan.trainees import NOBODY
from sap.plans import as_json
from sap.report import catalogue
from tests.workflow.small_study import EVERYTHING, MINI, ROOT, Workflow

pytestmark = pytest.mark.slow

EVIDENCE = {"headroom", "compare_towers", "compare_masks", "probe", "privacy"}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    overlay = tmp_path_factory.mktemp("config") / "everything.yaml"
    overlay.write_text(yaml.safe_dump(EVERYTHING), encoding="utf-8")
    return build_study(read_config([overlay], ROOT / "config.yaml"))


def judged(workflow: Workflow, study: Study, target: str) -> tuple[list[dict], dict[str, np.ndarray]]:
    """(rows, predictions) of one fold."""
    folder = workflow.folder / study.folder("evaluate", target=target, seed=0, shard=0)
    return read_jsonl(folder / "rows.jsonl"), load_tensors(folder / "predictions.safetensors", "np")


def means(rows: list[dict], attack: str | None) -> list[dict]:
    """Rows of the plain mean of the clients, under an attack or none."""
    return [
        row
        for row in rows
        if {"merge": {"method": "mean"}, "criterion": "none", "scale": 1}.items() <= row["settings"].items()
        and row["settings"].get("attack", {"kind": None})["kind"] == attack
    ]


def test_every_stage_of_the_plan_ran_and_left_its_files(everything, study):
    jobs = study.jobs
    assert {job.stage.name for job in jobs} > EVIDENCE
    files = [everything.folder / path for job in jobs for path in job.outputs]
    assert [path for path in files if not path.exists()] == []
    assert {path.name for path in files if not path.stat().st_size} == {FAILED}
    ran = {str(path.relative_to(everything.folder)) for path in everything.glob("results/benchmarks/**/*.tsv")}
    assert {job.benchmark for job in jobs} == ran


def test_headroom_sees_what_evaluate_sees(everything, study):
    for target in study.targets:
        rows, predictions = judged(everything, study, target)
        labels = predictions[f"{target}/test/labels"]
        arrays = load_tensors(
            everything.folder / study.folder("headroom", domain=target, seed=0) / "headroom.safetensors", "np"
        )
        assert np.array_equal(arrays["labels"], labels)
        for kind in ("zero_shot", "pooled", "oracle"):
            (row,) = (row for row in rows if (row["kind"], row["domain"]) == (kind, target))
            correct = predictions[f"{target}/test/predicted"][row["index"]] == labels
            assert np.array_equal(arrays[kind].ravel() == 1, correct), (target, kind)


def test_an_attackers_weight_in_the_mean_is_one_over_the_clients(everything, study):
    for target, clients in (("sketch", 2), (NOBODY, 3)):
        rows = judged(everything, study, target)[0]
        for attack in ("derangement", "backdoor"):
            assert [row["attacker_weight"] for row in means(rows, attack)] == pytest.approx(
                [1 / clients] * len(means(rows, attack)), abs=1e-4
            )
            assert means(rows, attack), (target, attack)


def test_an_attackers_weight_on_the_curve_is_the_one_that_was_asked_for(everything, study):
    rows = [row for row in judged(everything, study, "sketch")[0] if row["settings"].get("attacker_weight")]
    assert sorted(row["settings"]["attacker_weight"] for row in rows) == [0.25, 0.5]
    for row in rows:
        assert row["attacker_weight"] == pytest.approx(row["settings"]["attacker_weight"], abs=1e-4)


def test_nobody_attacks_where_the_attacker_is_held_out(everything, study):
    assert not [row for row in judged(everything, study, "printed")[0] if "attack" in row["settings"]]


def test_the_merge_under_a_sign_flip_is_the_one_computed_by_hand(everything, study, monkeypatch):
    """From the stored uploads: (ΔW of the honest client - ΔW of the attacker) / 2, layer by layer."""
    from sap.evaluate.load import domain_images, load_judge
    from sap.evaluate.rows import Judged
    from sap.update import Update, load_adapter

    monkeypatch.chdir(everything.folder)
    plan = shard_plan(study, "sketch", 0, 0)
    honest, attacker = (load_adapter(plan.clients[name]) for name in ("handwritten", "printed"))
    merged = Update({layer: (honest.dense(layer) - attacker.dense(layer)) / 2 for layer in honest})
    judge, _ = load_judge(plan, plan.clients, "cpu", 256)
    probabilities = judge.probabilities(domain_images(Judged("sketch"), plan.domains["sketch"]), merged)
    rows, predictions = judged(everything, study, "sketch")
    labels, stored = predictions["sketch/test/labels"], predictions["sketch/test/true_probability"]
    flipped, clean = (
        next(stored[row["index"]] for row in means(rows, attack) if row["domain"] == "sketch")
        for attack in ("sign_flip", None)
    )
    by_hand = probabilities[np.arange(len(labels)), labels]
    assert np.abs(by_hand - flipped).max() < 0.01 * np.abs(clean - flipped).max()  # tiny updates move little


def test_a_candidate_is_judged_on_each_source_by_what_the_others_merge_to(everything, study, monkeypatch):
    """Of two source domains one is left: by hand it is the other client's own upload, scaled."""
    from sap.evaluate.load import domain_images, load_judge
    from sap.evaluate.rows import HELD_OUT, Judged
    from sap.update import load_adapter

    monkeypatch.chdir(everything.folder)
    plan = shard_plan(study, "sketch", 0, 0)
    judge, _ = load_judge(plan, plan.clients, "cpu", 256)
    rows, predictions = judged(everything, study, "sketch")
    held_out = [row for row in rows if row["images"] == HELD_OUT]
    assert {(row["domain"], row["settings"]["scale"]) for row in held_out} == {
        (domain, scale) for domain in ("handwritten", "printed") for scale in (0.75, 1.5)
    }
    for row in held_out:
        (other,) = {"handwritten", "printed"} - {row["domain"]}
        update = load_adapter(plan.clients[other]).scaled(row["settings"]["scale"])
        images = domain_images(Judged(row["domain"], HELD_OUT), plan.domains[row["domain"]])
        by_hand = judge.probabilities(images, update)[np.arange(len(images.labels)), images.labels]
        stored = predictions[f"{row['domain']}/held_out/true_probability"][row["index"]]
        assert np.array_equal(by_hand, stored)


def test_a_second_run_has_nothing_to_do_and_without_evidence_no_such_stage_runs(everything):
    assert everything.planned(EVERYTHING) == {}
    assert not EVIDENCE & set(everything.planned(MINI))


def test_there_is_a_verdict_on_every_claim(everything):
    claims = read_csv(everything.folder / "results/tables/everything/claims.csv")
    assert list(dict.fromkeys(row["claim"] for row in claims)) == [f"C{number}" for number in range(1, 13)]
    assert all(row["verdict"] for row in claims)


def test_tables_and_figures_are_made_again_without_adapters_images_and_backbones(everything, study, tmp_path):
    copy = tmp_path / "copy"
    heavy = shutil.ignore_patterns("adapter_model.safetensors", "images.npy", "backbones", "tables", "figures")
    shutil.copytree(everything.folder / "results", copy / "results", ignore=heavy)
    write_text(copy / "plan.json", json.dumps(as_json(report_plan(study))))
    for stage, *options in (("tables", "--headroom"), ("tables",), ("figures",)):
        command = [ROOT / f"workflow/scripts/{stage}.py", "--plan", "plan.json", *options]
        command += ["--out", f"results/{stage}/everything"]
        found = subprocess.run([sys.executable, *command], cwd=copy, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
    names = [f"tables/everything/{table}.csv" for table in catalogue.TABLES]
    names += [f"figures/everything/{figure}.png" for figure in catalogue.FIGURES]
    for name in names:
        assert (copy / "results" / name).read_bytes() == (everything.folder / "results" / name).read_bytes(), name
