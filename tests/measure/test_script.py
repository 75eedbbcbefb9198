"""The script of the stage: a client on its own images, or on the anchors, with what it writes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sap.clip.backbone import load_backbone
from sap.clip.lora import add_adapter, save_adapter, trainable
from sap.clip.options import LoraOptions
from sap.compose import LazyTensors
from sap.data.digits import CLASSES
from sap.errors import SapError
from sap.io import digest_file, load_tensors, read_jsonl, read_meta, save_tensors
from sap.measure import curve
from sap.plans import SharePlan
from sap.scales import SCALES
from sap.train.examples import open_examples
from sap.update import load_adapter
from tests.made_plans import SKETCH, whole_domain
from tests.scripts import run_script


@pytest.fixture
def measure(tiny_clip_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    run_script("prepare_domain", SKETCH, tmp_path / "sketch")
    backbone = load_backbone(tiny_clip_folder)
    features = backbone.text_features(backbone.tokenize(list(CLASSES)))
    texts = {"features": features, "logit_scale": backbone.logit_scale.clone()}
    save_tensors(tmp_path / "classes" / "text_features.safetensors", texts)
    anchors = {
        "images": torch.randint(0, 256, (6, 16, 16, 3), dtype=torch.uint8),
        "tokens": backbone.tokenize(["a"] * 6),
    }
    save_tensors(tmp_path / "anchors" / "anchors.safetensors", anchors)
    adapted = add_adapter(backbone.model, LoraOptions(rank=2), 0, "sketch")
    with torch.no_grad():
        for factor in trainable(adapted).values():
            factor.normal_(0, 0.05)
    save_adapter(adapted, tmp_path / "adapter")

    def run(kind, source, images=5, client="sketch"):
        own = source == "client"
        plan = {"client": client, "seed": 0, "kind": kind, "source": source, "images": images}
        plan |= {"adapter": str(tmp_path / "adapter"), "backbone": str(tiny_clip_folder)}
        plan |= {"classes": str(tmp_path / "classes"), "anchors": None if own else str(tmp_path / "anchors")}
        plan["share"] = whole_domain(tmp_path / "sketch") | {"trainee": client} if own else None
        record = run_script("measure", plan, tmp_path / "record" / f"{kind}-{source}-{images}-{client}")
        upload = record / "upload"
        assert sorted(path.name for path in upload.iterdir()) == ["meta.json", "statistics.safetensors"]
        assert sorted(path.name for path in record.iterdir()) == ["failed.jsonl", "meta.json", "upload"]
        return load_tensors(upload / "statistics.safetensors"), read_meta(upload), read_meta(record)

    return run


@pytest.mark.parametrize("source", ["client", "anchors"])
def test_every_layer_of_the_adapter_is_measured_in_its_own_shape(measure, tmp_path, source):
    update = load_adapter(tmp_path / "adapter")
    grams, sent, kept = measure("gram", source)
    fisher, _, _ = measure("fisher", source)
    assert {name: tuple(t.shape) for name, t in fisher.items()} == {
        f"{name}/fisher": update.shape(name) for name in update
    }
    for name in update:
        gram = grams[f"{name}/gram"].double()
        assert gram.shape == (update.shape(name)[1],) * 2
        assert torch.linalg.eigvalsh(gram).min() > -1e-6 * gram.diagonal().max()
        assert (fisher[f"{name}/fisher"] >= 0).all()
    path = tmp_path / "record" / f"gram-{source}-5-sketch" / "upload" / "statistics.safetensors"
    assert sent["files"] == {path.name: digest_file(path)}
    assert sorted(sent) == ["client", "digest", "files", "seed", "stage"]  # the rest stays with the client
    assert {"device", "git_commit", "seconds", "settings", "versions"} <= kept.keys()
    failures = path.parents[1] / "failed.jsonl"
    assert kept["files"] == {failures.name: digest_file(failures)}
    assert read_jsonl(failures) == []


def test_the_images_are_drawn_by_client_name_and_a_second_run_gives_the_same_bits(measure):
    first, again, other, everything = (
        measure("gram", "client", **changed)[0] for changed in ({}, {}, {"client": "another name"}, {"images": 10_000})
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert not all(torch.equal(first[name], everything[name]) for name in first)


def test_statistics_that_are_not_finite_say_so_to_their_readers_and_stop_nobody_else(measure, tmp_path, monkeypatch):
    monkeypatch.setattr("sap.measure.statistics.is_finite", lambda tensor: False)
    found, _, _ = measure("gram", "client")
    assert found == {}
    (failure,) = read_jsonl(tmp_path / "record/gram-client-5-sketch/failed.jsonl")
    assert (failure["stage"], failure["client"], failure["seed"]) == ("measure", "sketch", 0)
    assert "is not finite, the update is too large to be used" in failure["error"]
    with pytest.raises(SapError, match="is not finite, the update is too large"):
        LazyTensors(tmp_path / "record/gram-client-5-sketch/upload/statistics.safetensors")


@pytest.mark.parametrize("kind", ["moments", "failures"])
def test_sums_of_features_are_measured_on_the_clients_labels(measure, kind):
    found, sent, _ = measure(kind, "client", images=10_000)
    assert set(found) == {f"{kind}/count", f"{kind}/sum", f"{kind}/outer"}
    assert sorted(sent) == ["client", "digest", "files", "seed", "stage"]
    if kind == "moments":
        counts = found["moments/count"]
        assert counts.shape == (10,)
        assert float(counts.min()) > 0
        assert float(found["moments/outer"].trace()) == pytest.approx(float(counts.sum()), rel=1e-5)


def test_a_curve_is_of_the_validation_images_and_of_the_training_images_where_there_are_none(
    measure, tmp_path, monkeypatch
):
    seen, holding = [], open_examples(SharePlan(**whole_domain(tmp_path / "sketch")))
    real = curve.accuracy_curve

    def watched(backbone, update, where, seed, images, labels, texts):
        seen.append((images.numpy(), labels.numpy()))
        return real(backbone, update, where, seed, images, labels, texts)

    monkeypatch.setattr(curve, "accuracy_curve", watched)
    found, sent, kept = measure("curve", "client", images=10_000)
    assert {name: tuple(each.shape) for name, each in found.items()} == {"curve/accuracy": (len(SCALES),)}
    assert 0 <= float(found["curve/accuracy"].min()) <= float(found["curve/accuracy"].max()) <= 1
    assert sorted(sent) == ["client", "digest", "files", "seed", "stage"]
    assert kept["settings"] == {"kind": "curve", "source": "client", "images": 10_000}
    measure("curve", "client", images=3)
    untested = holding.val.labels[:0]
    nothing = replace(holding.val, source=untested, row=untested, labels=untested)
    monkeypatch.setattr("sap.measure.inputs.open_examples", lambda share: holding._replace(val=nothing))
    measure("curve", "client", images=10_000)
    (images, labels), (few, _), (trained, _) = seen
    assert 3 < len(holding.val) < len(holding.train)
    assert np.array_equal(images, holding.val.images(np.arange(len(holding.val))))
    assert np.array_equal(labels, holding.val.labels)
    assert len(few) == 3
    assert np.array_equal(trained, holding.train.images(np.arange(len(holding.train))))
