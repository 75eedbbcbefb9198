"""Membership on models whose memory is known, its interval by simulation, and upload bytes counted by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from sap.clip.backbone import load_backbone
from sap.factors import Factors
from sap.io import read_csv, read_json, read_jsonl
from sap.stages.privacy.run import auc_interval, membership, upload_bytes
from sap.update import Update
from tests.made_plans import whole_domain
from tests.probe.small_study import (
    HALF,
    WHOLE,
    ZERO_SHOT,
    fold_plan,
    memorise,
    merge_point,
    noise,
    undecided,
    write_classes,
    write_domain,
    write_upload,
)
from tests.scripts import run_script

DOMAINS = ("learnt", "untouched")
SPLITS = np.array(["train"] * 40 + ["val"] * 20 + ["test"] * 36)


@pytest.fixture
def study(tmp_path, tiny_clip_folder, monkeypatch):
    """Images and labels that mean nothing; one client learnt its own by heart, the other's update is zero."""
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    features = undecided(load_backbone(tiny_clip_folder), noise(96, 2)[0])
    write_classes(features, tmp_path / "classes")
    for seed, domain in enumerate(DOMAINS):
        images, labels = noise(96, seed)
        write_domain(tmp_path / domain, images, labels, SPLITS)
        fit = memorise(images[:40], labels[:40], features) if domain == "learnt" else None
        write_upload(tiny_clip_folder, tmp_path / "clients" / domain, 0.0, fit)
    return tmp_path


def privacy(study, backbone, points=(WHOLE, HALF, ZERO_SHOT), images=100, **shares):
    given = {name: whole_domain(study / name) for name in DOMAINS} | shares
    plan = fold_plan(study, backbone, DOMAINS, list(points), images=images, shares=given)
    out = run_script("privacy", plan, study / "privacy")
    rows = {(row["client"], row["point"], row["score"]): row for row in read_csv(out / "privacy.csv")}
    return rows, read_csv(out / "bytes.csv"), read_json(out / "meta.json")


def test_a_client_that_learnt_by_heart_is_found_out_and_an_untouched_model_tells_nothing(study, tiny_clip_folder):
    rows, _, meta = privacy(study, tiny_clip_folder)
    assert len(rows) == 2 * 3 * 2
    for score in ("loss", "ratio"):
        learnt = rows["learnt", "whole", score]
        assert float(learnt["auc"]) > 0.9  # one in eight non-members is right by chance
        assert float(learnt["auc_low"]) > 0.8
        assert int(learnt["members"]) == int(learnt["non_members"]) >= 25
    assert float(rows["untouched", "whole", "ratio"]["auc"]) == 0.5  # the model is zero-shot, bit for bit
    control = rows["untouched", "whole", "loss"]
    for found in (control, rows["untouched", "whole", "ratio"]):
        assert float(found["auc_low"]) < 0.5 < float(found["auc_high"])
    assert control["auc"] == rows["untouched", "half", "loss"]["auc"] == rows["untouched", "zero_shot", "loss"]["auc"]
    assert meta["settings"]["shares"]["learnt"]["parts"] == [{"domain": "learnt", "index": None}]


def test_every_client_has_bytes_at_every_point_that_sends_something(study, tiny_clip_folder):
    _, uploads, _ = privacy(study, tiny_clip_folder)
    assert [(row["client"], row["point"]) for row in uploads] == [
        (client, point) for client in DOMAINS for point in ("whole", "half")
    ]
    whole, half = uploads[:2]
    assert int(half["kept"]) == int(half["entries"]) // 2
    assert whole["factor_bytes"] == half["factor_bytes"]


def test_wrong_labels_tell_no_members(study, tiny_clip_folder):
    """By the labels that it was trained with, the members of an all-wrong client would differ without any memory."""
    corrupted = whole_domain(study / "untouched") | {"corruption": {"kind": "derangement", "fraction": 1.0}}
    clean, _, _ = privacy(study, tiny_clip_folder)
    wrong, _, _ = privacy(study, tiny_clip_folder, untouched=corrupted)
    assert wrong == clean


def test_a_client_of_two_domains_is_judged_on_both_and_on_no_more_images_than_asked(study, tiny_clip_folder):
    both = whole_domain(study / "learnt") | {
        "parts": [{"domain": name, "index": None} for name in DOMAINS],
        "domains": [str(study / name) for name in DOMAINS],
    }
    rows, _, _ = privacy(study, tiny_clip_folder, points=[ZERO_SHOT], images=20, learnt=both)
    assert [rows[client, "zero_shot", "loss"]["members"] for client in DOMAINS] == ["20", "20"]


def test_a_client_without_anything_to_compare_is_named_and_costs_no_other_its_rows(study, tiny_clip_folder):
    rows, uploads, _ = privacy(study, tiny_clip_folder, points=[WHOLE, ZERO_SHOT], images=1)
    assert (rows, uploads) == ({}, [])
    failed = read_jsonl(study / "privacy/failed.jsonl")
    assert [(row["client"], row["point"]) for row in failed] == [
        (client, point) for client in DOMAINS for point in ("whole", "zero_shot")
    ]
    assert all(f"client {row['client']} needs two images or more" in row["error"] for row in failed)


def test_an_upload_that_cannot_be_pruned_costs_no_other_its_rows(study, tiny_clip_folder):
    broken = merge_point("broken", criterion="taylor_absolute", prune_ratio=0.5)  # nobody scored the clients
    rows, uploads, _ = privacy(study, tiny_clip_folder, points=[WHOLE, broken, ZERO_SHOT])
    assert {(client, point) for client, point, _ in rows} == {
        (client, point) for client in DOMAINS for point in ("whole", "zero_shot")
    }
    assert [row["point"] for row in uploads] == ["whole", "whole"]
    failed = read_jsonl(study / "privacy/failed.jsonl")
    assert [(row["client"], row["point"]) for row in failed] == [(client, "broken") for client in DOMAINS]


def test_scores_that_separate_give_one_and_equal_scores_one_half():
    apart = membership(np.arange(200.0) + 500, np.arange(300.0))
    assert apart == {
        "auc": 1.0, "auc_low": pytest.approx(1 - 3.8415 / 200, abs=1e-5), "auc_high": 1.0, "tpr": 1.0,
        "members": 200, "non_members": 300,
    }  # fmt: skip
    same = membership(np.ones(50), np.ones(50))
    assert (same["auc"], same["tpr"]) == (0.5, 0.0)
    assert 0.5 - same["auc_low"] == same["auc_high"] - 0.5 == pytest.approx(3.8415 / 50, abs=1e-5)


def test_true_positives_are_counted_where_one_in_a_hundred_is_wrongly_accused():
    others = np.arange(200.0)  # two may be accused: the threshold lies above 197
    members = np.array([199.5, 198.5, 197.5, 196.5])
    assert membership(members, others)["tpr"] == 0.75
    assert membership(members, others[-50:])["tpr"] == 0.25  # of fifty, nobody may


def test_the_interval_is_that_of_a_bootstrap_and_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.5, 1, 300), rng.normal(0, 1, 300)

    def auc(a, b):
        return roc_auc_score(np.repeat([1, 0], [len(a), len(b)]), np.concatenate([a, b]))

    drawn = bootstrap((members, others), auc, n_resamples=500, method="percentile", vectorized=False, rng=rng)
    assert auc_interval(members, others) == pytest.approx(tuple(drawn.confidence_interval), abs=0.008)
    truth = 0.638163  # Φ(0.5 / √2), two unit normals half a unit apart
    held = 0
    for _ in range(1000):
        low, high = auc_interval(rng.normal(0.5, 1, 150), rng.normal(0, 1, 150))
        held += low <= truth <= high
    assert 930 <= held <= 970


def test_scores_that_separate_the_groups_exclude_what_so_many_images_can():
    low, high = auc_interval(np.arange(300) + 500.0, np.arange(120) * 1.0)
    assert (low, high) == (pytest.approx(1 - 3.84 / 120, abs=1e-4), 1)
    assert 1 - low > -np.log(0.025) / 120  # none of 120 leaves this rate possible
    assert auc_interval(np.arange(120) * 1.0, np.arange(300) + 500.0) == (0, pytest.approx(1 - low))


def test_bytes_by_hand():
    A, B = torch.ones(2, 20), torch.ones(10, 2)
    upload = Update({"a": Factors(A, B), "b": Factors(A, B)})
    factors = 2 * 4 * (40 + 20)
    assert upload_bytes(upload, upload) == {
        "entries": 400, "kept": 400, "factor_bytes": factors, "entry_bytes": factors, "saved": 0.0,
    }  # fmt: skip
    half, few = torch.ones(10, 20), torch.zeros(10, 20)
    half[:5], few[0, :3] = 0, 1
    found = upload_bytes(upload, Update({"a": half, "b": few}))
    assert found["kept"] == 100 + 3
    assert found["entry_bytes"] == (4 * 100 + 25) + (4 * 3 + 4 * 3)  # a bitmap of 200 bits; three indices
    assert found["saved"] == 1 - 449 / 480
    component = Update({"a": Factors(A * torch.tensor([[1.0], [0.0]]), B), "b": Factors(A, B)})
    assert upload_bytes(upload, component)["entry_bytes"] == (4 * 20 + 5) + 4 * 20 + 4 * 60  # 40 bits of A
