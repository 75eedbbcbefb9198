"""headroom and probe, from prepared domains and uploads to their files."""

import msgspec
import numpy as np
import pytest

from sap.clip.backbone import load_backbone
from sap.data.store import open_store
from sap.errors import SapError
from sap.evaluate.load import domain_images, load_judge
from sap.evaluate.rows import VALIDATION, Judged
from sap.io import digest_file, load_tensors, read_csv, read_json, read_jsonl
from sap.scales import SCALES
from sap.stages.headroom.plan import HeadroomPlan
from tests.probe.small_study import (
    HALF,
    WHOLE,
    ZERO_SHOT,
    fold_plan,
    merge_point,
    noise,
    tinted,
    write_classes,
    write_domain,
    write_upload,
)
from tests.scripts import run_script

SPLITS = np.array(["train"] * 24 + ["val"] * 4 + ["test"] * 20)
DOMAINS = ("red", "green")


@pytest.fixture
def study(tmp_path, tiny_clip_folder, monkeypatch):
    """Two domains told apart by their tint, two classes by brightness, and an upload of each domain's client."""
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    backbone = load_backbone(tiny_clip_folder)
    write_classes(backbone.text_features(backbone.tokenize(["dark", "bright"])), tmp_path / "classes")
    for channel, domain in enumerate(DOMAINS):
        write_domain(tmp_path / domain, *tinted(channel, 48, channel), SPLITS)
        write_upload(tiny_clip_folder, tmp_path / "clients" / domain, 0.3)
    return tmp_path


def headroom(study, backbone, **changes):
    clients = [str(study / "clients" / domain) for domain in DOMAINS]
    plan = {
        "dataset": "made", "domain": "green", "precision": "float32", "backbone": str(backbone),
        "classes": str(study / "classes"), "data": str(study / "green"), "seed": 10,
        "sources": {"red": str(study / "red")},
        "pooled": clients[0], "oracle": clients[1], "images": 100, **changes,
    }  # fmt: skip
    out = run_script("headroom", plan, study / "headroom")
    return plan, load_tensors(out / "headroom.safetensors", "np"), read_json(out / "meta.json")


def test_headroom_is_what_evaluate_finds_and_a_separable_domain_is_read_by_the_probe(study, tiny_clip_folder):
    plan, found, meta = headroom(study, tiny_clip_folder)
    ceilings = {kind: plan[kind] for kind in ("pooled", "oracle")}
    judge, trained = load_judge(msgspec.convert(plan, HeadroomPlan), ceilings, "cpu", 16, cache_activations=False)
    test = domain_images(Judged("green"), plan["data"])

    def correct(update):
        return judge.probabilities(test, update).argmax(1) == test.labels

    assert np.array_equal(found["labels"], test.labels)
    assert np.array_equal(found["zero_shot"], correct(None))
    for kind in ceilings:
        assert np.array_equal(found[kind], [correct(trained[kind])])
    assert not np.array_equal(found["pooled"], found["oracle"])
    assert found["probe"].all()
    np.testing.assert_allclose(
        found["alignment"], (judge.logits(test, None) / 20.0)[np.arange(20), test.labels], atol=1e-6
    )
    assert {name: array.dtype.name for name, array in found.items()} == {
        "labels": "int16", "alignment": "float32",
        "zero_shot": "uint8", "probe": "uint8", "pooled": "uint8", "oracle": "uint8",
        "reachable": "uint8", "scale": "float32",
    }  # fmt: skip
    assert meta["seed"] == 10
    assert meta["accuracies"]["oracle"] == [pytest.approx(row.mean()) for row in found["oracle"]]
    assert meta["accuracies"]["zero_shot"] == pytest.approx(found["zero_shot"].mean())
    assert (meta["n"], meta["n_train"]) == (20, 24)
    assert meta["inputs"]["oracle 10"] == digest_file(study / "clients" / "green" / "adapter_model.safetensors")


def test_the_reachable_room_is_the_pooled_update_at_the_scale_that_the_sources_images_choose(study, tiny_clip_folder):
    plan, found, _ = headroom(study, tiny_clip_folder)
    judge, trained = load_judge(msgspec.convert(plan, HeadroomPlan), {"pooled": plan["pooled"]}, "cpu", 16)

    def correct(judged, folder, scale):
        images = domain_images(judged, folder)
        return judge.probabilities(images, trained["pooled"].scaled(scale)).argmax(1) == images.labels

    validation = {scale: correct(Judged("red", VALIDATION), plan["sources"]["red"], scale).mean() for scale in SCALES}
    best = max(validation, key=validation.get)  # the first: the smaller of equals
    assert found["scale"] == [best]
    assert np.array_equal(found["reachable"], [correct(Judged("green"), plan["data"], best)])
    _, plain, _ = headroom(study, tiny_clip_folder, sources={})
    assert plain["scale"] == [1]
    assert np.array_equal(plain["reachable"], plain["pooled"])


def test_the_headroom_probe_sees_no_more_images_than_it_may_and_says_how_many(study, tiny_clip_folder):
    assert headroom(study, tiny_clip_folder, images=7)[2]["n_train"] == 7
    _, found, _ = headroom(study, tiny_clip_folder, images=1)
    assert found == {}
    (failure,) = read_jsonl(study / "headroom/failed.jsonl")
    assert (failure["stage"], failure["domain"], failure["seed"]) == ("headroom", "green", 10)
    assert "domain green: a linear probe needs" in failure["error"]


def probe(study, backbone, points, images=12, name="probe"):
    out = run_script("probe", fold_plan(study, backbone, DOMAINS, points, images=images), study / name)
    return load_tensors(out / "probe.safetensors", "np"), read_csv(out / "probe.csv"), read_json(out / "meta.json")


def test_a_probe_reads_style_and_class_of_separable_domains_at_every_point(study, tiny_clip_folder):
    points = [WHOLE, ZERO_SHOT, HALF]
    found, rows, meta = probe(study, tiny_clip_folder, points)
    assert found["domain"].shape == found["class"].shape == (3, 24)
    assert found["domain"].all()
    assert found["class"].all()
    assert found["domains"].tolist() == [0] * 12 + [1] * 12
    assert np.bincount(found["labels"]).tolist() == [12, 12]
    assert [row["point"] for row in rows] == meta["points"] == ["whole", "zero_shot", "half"]
    assert [(row["n"], row["n_train"], row["domain_accuracy"]) for row in rows] == [("24", "24", "1.0")] * 3
    whole, zero, half = (float(row["norm"]) for row in rows)
    assert zero == 0 < half < whole
    assert meta["domains"] == list(DOMAINS)


def test_a_points_numbers_do_not_depend_on_the_other_points(study, tiny_clip_folder):
    write_domain(study / "green", *noise(48, 5), SPLITS)
    together, rows, _ = probe(study, tiny_clip_folder, [HALF, WHOLE, ZERO_SHOT])
    alone, [row], _ = probe(study, tiny_clip_folder, [WHOLE], name="alone")
    assert row == rows[1]
    for kind in ("domain", "class"):
        assert np.array_equal(alone[kind][0], together[kind][1])
    assert 0.3 < float(row["class_accuracy"]) < 1  # half of the images have labels that mean nothing


def test_domains_with_the_same_images_cannot_be_told_apart(study, tiny_clip_folder):
    write_domain(study / "green", *tinted(0, 48, 0), SPLITS)
    found, _, _ = probe(study, tiny_clip_folder, [ZERO_SHOT], images=20)
    first, second = found["domain"][0].reshape(2, 20)
    assert np.array_equal(open_store(study / "green").labels, open_store(study / "red").labels)
    assert first.sum() + second.sum() == 20  # every image is called one of the two, and is in both


def test_every_domain_gives_as_many_images_as_the_smallest_has(study, tiny_clip_folder):
    write_domain(study / "green", *tinted(1, 40, 1), SPLITS[:40])
    found, [row], _ = probe(study, tiny_clip_folder, [ZERO_SHOT], images=100)
    assert np.bincount(found["domains"]).tolist() == [12, 12]
    assert (row["n"], row["n_train"]) == ("24", "48")


def test_a_domain_without_images_to_judge_is_named(study, tiny_clip_folder):
    write_domain(study / "green", *tinted(1, 24, 1), SPLITS[:24])
    with pytest.raises(SapError, match=r"domain green has no test images to probe\. Change data\.split"):
        probe(study, tiny_clip_folder, [ZERO_SHOT])


def test_a_point_that_cannot_be_merged_costs_no_other_its_probe(study, tiny_clip_folder):
    broken = merge_point("broken", merge={"method": "krum", "f": 1})
    found, rows, meta = probe(study, tiny_clip_folder, [WHOLE, broken, ZERO_SHOT])
    alone, others, _ = probe(study, tiny_clip_folder, [WHOLE, ZERO_SHOT], name="alone")
    assert rows == others
    assert all(np.array_equal(found[name], alone[name]) for name in alone)
    assert meta["points"] == ["whole", "zero_shot"]
    (failure,) = read_jsonl(study / "probe/failed.jsonl")
    assert (failure["stage"], failure["point"], failure["seed"]) == ("probe", "broken", 0)
    assert "krum: needs n >= 2f+3 clients" in failure["error"]


def test_a_study_of_which_no_point_can_be_probed_has_files_without_rows(study, tiny_clip_folder):
    found, rows, _ = probe(study, tiny_clip_folder, [merge_point("broken", merge={"method": "krum", "f": 1})])
    assert found["class"].shape == (0, 24)
    assert rows == []
    assert len(read_jsonl(study / "probe/failed.jsonl")) == 1
