"""Rows stay, are recomputed when what they depend on changes, and never point at missing predictions."""

import dataclasses
import json

import numpy as np
import pytest

from sap.errors import SapError
from sap.evaluate.rows import Judged, RowStore, name_of, row_keys
from sap.io import digest_file, load_tensors, read_jsonl, write_text
from sap.plans import PublicPlan
from sap.provenance import save_meta
from tests.made_plans import made_fold

LABELS = np.array([0, 1, 2, 1])


def row(point: str, domain: str, key: str = "0123456789abcdef") -> dict:
    named = {"key": key, "point": point, "kind": "merge", "target": "a", "seed": 0, "settings": {}}
    return named | Judged(domain)._asdict()


def probabilities(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), len(LABELS)).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    store = RowStore(tmp_path)
    for seed, (point, domain) in enumerate([("p", "a"), ("p", "b"), ("q", "a")]):
        store.add(row(point, domain), probabilities(seed), LABELS)
    store.save()
    return store


def test_what_is_read_back_is_what_was_written(store, tmp_path):
    again = RowStore(tmp_path)
    assert again.rows == store.rows
    stored = load_tensors(tmp_path / "predictions.safetensors", "np")
    index = again.rows["q", "a", "test"]["index"]
    expected = probabilities(2)
    assert np.array_equal(stored["a/test/predicted"][index], expected.argmax(1))
    assert np.array_equal(stored["a/test/probability"][index], expected.max(1))
    assert np.array_equal(stored["a/test/true_probability"][index], expected[np.arange(4), LABELS])
    assert again.rows["q", "a", "test"]["correct"] == int((expected.argmax(1) == LABELS).sum())


def test_adding_a_point_keeps_the_other_rows_bit_for_bit(store, tmp_path):
    before = {name_of(r): json.dumps(r) for r in read_jsonl(tmp_path / "rows.jsonl")}
    again = RowStore(tmp_path)
    again.add(row("r", "a", "test"), probabilities(9), LABELS)
    again.save()
    after = {name_of(r): json.dumps(r) for r in read_jsonl(tmp_path / "rows.jsonl")}
    assert {name: after[name] for name in before} == before
    assert len(after) == 4


def test_a_row_is_known_only_under_its_key(store):
    assert store.has(("p", "a", "test"), "0123456789abcdef")
    assert not store.has(("p", "a", "test"), "another")
    assert not store.has(("p", "c", "test"), "0123456789abcdef")


def test_equal_rows_give_equal_bytes_whatever_the_order_of_work(store, tmp_path):
    other = RowStore(tmp_path / "other")
    for seed, (point, domain) in reversed(list(enumerate([("p", "a"), ("p", "b"), ("q", "a")]))):
        other.add(row(point, domain), probabilities(seed), LABELS)
        other.save()
    for file in ("rows.jsonl", "predictions.safetensors"):
        assert digest_file(tmp_path / file) == digest_file(tmp_path / "other" / file)


@pytest.mark.parametrize("damage", ["predictions cut", "rows gone", "predictions gone", "predictions of another run"])
def test_damaged_files_lose_rows_but_never_lie(store, tmp_path, damage):
    predictions, rows = tmp_path / "predictions.safetensors", tmp_path / "rows.jsonl"
    if damage == "predictions cut":
        predictions.write_bytes(predictions.read_bytes()[:-10])
    elif damage == "rows gone":
        rows.unlink()
    elif damage == "predictions gone":
        predictions.unlink()
    else:
        lone = RowStore(tmp_path / "other")
        lone.add(row("p", "b", "test"), np.eye(3, dtype=np.float32)[[2, 2, 1, 0]], LABELS)
        lone.save()
        predictions.write_bytes((tmp_path / "other/predictions.safetensors").read_bytes())
    assert RowStore(tmp_path).rows == {}


@pytest.mark.parametrize("file", ["rows.jsonl", "predictions.safetensors"])
def test_any_flipped_bit_costs_at_most_the_rows_that_it_hits(store, tmp_path, file):
    whole = (tmp_path / file).read_bytes()
    lost = set()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        (tmp_path / file).write_bytes(changed)
        again = RowStore(tmp_path)
        assert all(again.rows[name] == store.rows[name] for name in again.rows)
        assert again.changed == (again.rows != store.rows)
        lost.add(len(store.rows) - len(again.rows))
    assert 1 in lost  # and not everything each time


def test_rows_of_a_cut_file_are_kept_up_to_the_cut(store, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    again = RowStore(tmp_path)
    assert set(again.rows) == {("p", "a", "test"), ("p", "b", "test")}
    again.add(row("q", "a"), probabilities(2), LABELS)
    again.save()
    assert RowStore(tmp_path).rows == store.rows


def test_rows_on_other_images_of_a_domain_give_way(store, tmp_path):
    store.add(row("r", "a", "test"), probabilities(5)[:3], LABELS[:3])
    store.save()
    assert set(RowStore(tmp_path).rows) == {("p", "b", "test"), ("r", "a", "test")}


def test_a_row_that_was_dropped_is_gone_and_the_others_keep_their_predictions(store, tmp_path):
    store.drop([("p", "a", "test"), ("not", "there", "test")])
    assert store.changed
    store.save()
    again = RowStore(tmp_path)
    assert set(again.rows) == {("p", "b", "test"), ("q", "a", "test")}
    stored = load_tensors(tmp_path / "predictions.safetensors", "np")
    assert np.array_equal(stored["a/test/predicted"][again.rows["q", "a", "test"]["index"]], probabilities(2).argmax(1))


def test_rows_so_far_are_adopted_unless_the_key_of_today_is_there(store, tmp_path):
    old, today = "0123456789abcdef", "fedcba9876543210"
    side = RowStore(tmp_path / "side")
    side.add(row("p", "a", today), probabilities(7), LABELS)  # renewed
    side.add(row("q", "a", today), probabilities(8), LABELS)  # a leftover of other settings
    side.add(row("r", "a", today), probabilities(9), LABELS)  # not there yet
    side.save()
    keys = {("p", "a", "test"): today, ("q", "a", "test"): old, ("r", "a", "test"): today}
    store.adopt(RowStore(tmp_path / "side"), keys)
    assert {name: found["key"] for name, found in store.rows.items()} == {
        ("p", "a", "test"): today,
        ("p", "b", "test"): old,
        ("q", "a", "test"): old,
        ("r", "a", "test"): today,
    }


MERGE = ["merge"]


@pytest.fixture
def plan(tmp_path):
    def artifact(name: str, *files: str) -> str:
        for file in files:
            write_text(tmp_path / name / file, name)
        save_meta(tmp_path / name, {"stage": name, "sample_count": 10})
        return str(tmp_path / name)

    adapter = ("adapter_config.json", "adapter_model.safetensors")
    return made_fold(
        target="a",
        backbone=artifact("backbone", "open_clip_config.json", "open_clip_model.safetensors"),
        classes=artifact("classes", "text_features.safetensors"),
        domains={name: artifact(f"data-{name}", "index.csv", "images.npy") for name in ("a", "b")},
        clients={"b": artifact("b", *adapter, "train.jsonl")},
        recipes={"swa": {"b": artifact("swa-b", *adapter)}},
        pooled=artifact("pooled", *adapter),
        gradients={"cosine-0-0123456789": {"b": artifact("g", "gradients.safetensors")}},
        statistics={"gram-client-0123456789": {"b": artifact("s", "statistics.safetensors")}},
        points=[
            {
                "id": "mean",
                "settings": {"kind": "merge", "criterion": "none"},
                "judged_on": ["clients"],
                "reads": MERGE,
                "code": "c",
            },
            {
                "id": "sap",
                "settings": {"kind": "merge", "saliency": "cosine-0-0123456789"},
                "reads": MERGE,
                "code": "c",
            },
            {
                "id": "regmean",
                "settings": {"kind": "merge", "measured": {"gram": "gram-client-0123456789"}},
                "reads": MERGE,
                "code": "c",
            },
            {"id": "swa", "settings": {"kind": "merge", "recipe": "swa"}, "reads": MERGE, "code": "c"},
            {"id": "zero", "settings": {"kind": "zero_shot"}, "code": "c"},
            {"id": "pool", "settings": {"kind": "pooled"}, "reads": ["pooled"], "code": "c"},
            {
                "id": "both",
                "settings": {
                    "kind": "product",
                    "beside": [
                        {"kind": "merge", "saliency": "cosine-0-0123456789"},
                        {"kind": "merge", "measured": {"gram": "gram-client-0123456789"}},
                    ],
                },
                "reads": MERGE,
                "code": "c",
            },
        ],
    )


def test_seen_domains_are_judged_for_the_points_that_ask_for_them(plan):
    assert set(row_keys(plan)) == {
        ("mean", "a", "test"),
        ("mean", "b", "test"),
        ("sap", "a", "test"),
        ("regmean", "a", "test"),
        ("swa", "a", "test"),
        ("zero", "a", "test"),
        ("pool", "a", "test"),
        ("both", "a", "test"),
    }


EVERY = {"mean", "sap", "regmean", "swa", "zero", "pool", "both"}


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("b/adapter_model.safetensors", {"mean", "sap", "regmean", "both"}),
        ("b/adapter_config.json", {"mean", "sap", "regmean", "both"}),
        ("b/train.jsonl", set()),
        ("swa-b/adapter_model.safetensors", {"swa"}),
        ("g/gradients.safetensors", {"sap", "both"}),
        ("s/statistics.safetensors", {"regmean", "both"}),
        ("pooled/adapter_model.safetensors", {"pool"}),
        ("data-b/index.csv", {"mean"}),
        ("data-a/index.csv", EVERY),
        ("classes/text_features.safetensors", EVERY),
        ("backbone/open_clip_model.safetensors", EVERY),
    ],
)
def test_a_key_covers_exactly_what_a_point_reads(plan, tmp_path, file, changed):
    before = row_keys(plan)
    write_text(tmp_path / file, "changed")
    save_meta((tmp_path / file).parent, {"stage": "again", "seconds": 2, "sample_count": 10})
    after = row_keys(plan)
    assert {name[0] for name in before if before[name] != after[name]} == changed


def test_another_sample_count_of_an_upload_judges_its_merges_again(plan, tmp_path):
    before = row_keys(plan)
    save_meta(tmp_path / "b", {"stage": "train_client", "sample_count": 11})
    after = row_keys(plan)
    assert {name[0] for name in before if before[name] != after[name]} == {"mean", "sap", "regmean", "both"}


def test_a_meta_that_lacks_a_digest_is_named(plan, tmp_path):
    save_meta(tmp_path / "pooled", {"stage": "train_client"}, ["adapter_config.json"])
    with pytest.raises(
        SapError, match=r"pooled/meta\.json is damaged .*no digest of .*adapter_model.*Delete the folder"
    ):
        row_keys(plan)


def test_another_seed_judges_every_merge_again_and_nothing_else(plan):
    before, after = row_keys(plan), row_keys(dataclasses.replace(plan, seed=7))
    assert {name[0] for name in before if before[name] != after[name]} == {"mean", "sap", "regmean", "swa", "both"}


def test_the_patch_counts_for_images_that_bear_it_and_the_anchors_for_validation_images(plan, tmp_path):
    asked = [dataclasses.replace(point, judged_on=("triggered", "selection")) for point in plan.points[:1]]
    write_text(tmp_path / "public/anchors.safetensors", "anchors")
    save_meta(tmp_path / "public", {"stage": "draw_anchors"})
    public = PublicPlan(anchors=str(tmp_path / "public"), size=4)
    plan = dataclasses.replace(plan, points=tuple(asked), public=public, patch_size=0.2)
    before, after = row_keys(plan), row_keys(dataclasses.replace(plan, patch_size=0.3))
    assert {name[2] for name in before if before[name] != after[name]} == {"triggered"}
    write_text(tmp_path / "public/anchors.safetensors", "others")
    save_meta(tmp_path / "public", {"stage": "draw_anchors"})
    after = row_keys(plan)
    assert {name[2] for name in before if before[name] != after[name]} == {"validation"}
    assert {name[2] for name in before} == {"test", "triggered", "validation"}
