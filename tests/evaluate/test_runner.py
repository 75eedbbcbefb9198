"""The judge: zero-shot bits are kept, batches do not matter, and a model that predicts NaN is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sap.clip.tower import below
from sap.errors import MachineError, SapError
from sap.evaluate.judging import judge_points
from sap.evaluate.rows import HELD_OUT, Judged
from sap.evaluate.runner import DomainImages, Judge, softmax
from sap.factors import tensors_of
from sap.serve._api import Fold
from sap.update import Factors, Update
from tests.made_plans import made_fold

LAYER = "visual.transformer.resblocks.0.mlp.c_fc.weight"


@pytest.fixture
def test_images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    return DomainImages(images, np.array([1, 3, 4, 7, 8, 10, 11]), np.zeros(7, np.int64))


@pytest.fixture
def judge_of(tiny_clip):
    features = torch.nn.functional.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    return lambda batch_size=4: Judge(tiny_clip, features, 20.0, batch_size, "float32")


def update_of(model, size: float) -> Update:
    m, n = model.get_parameter(LAYER).shape
    generator = torch.Generator().manual_seed(1)
    return Update(
        {LAYER: Factors(torch.randn(2, n, generator=generator), size * torch.randn(m, 2, generator=generator))}
    )


def test_a_zero_update_gives_zero_shot_bit_for_bit_and_leaves_the_model_alone(tiny_clip, judge_of, test_images):
    judge = judge_of()
    zero_shot = judge.probabilities(test_images, None)
    assert np.array_equal(judge.probabilities(test_images, update_of(tiny_clip.model, 0.0)), zero_shot)
    changed = judge.probabilities(test_images, update_of(tiny_clip.model, 1.0))
    assert np.abs(changed - zero_shot).max() > 1e-3
    assert np.array_equal(judge.probabilities(test_images, None), zero_shot)
    assert np.allclose(zero_shot.sum(1), 1, atol=1e-5)


def test_the_batch_size_changes_no_prediction(judge_of, test_images):
    small, large = judge_of(2).probabilities(test_images, None), judge_of(64).probabilities(test_images, None)
    assert np.allclose(small, large, atol=1e-6)


def test_a_model_that_predicts_nan_is_refused_in_one_sentence(tiny_clip, judge_of, test_images):
    with pytest.raises(SapError, match="predicts NaN: some update is too large"):
        judge_of().probabilities(test_images, update_of(tiny_clip.model, 1e38))


@pytest.fixture
def judge_from(tiny_clip, judge_of):
    """A judge that keeps what enters `first_block`, in at most `cache_bytes`."""

    def make(first_block, cache_bytes=None, batch_size=4, precision="float32"):
        plain = judge_of()
        return Judge(tiny_clip, plain.features, 20.0, batch_size, precision, first_block, cache_bytes)

    return make


SECOND = "visual.transformer.resblocks.1.mlp.c_fc.weight"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("batches", "computed_again"), [(None, 0), (0, 2), (1, 1)])
def test_what_is_kept_below_the_first_adapted_block_changes_no_bit(
    tiny_clip, judge_from, test_images, precision, batches, computed_again, monkeypatch
):
    one = 4 * 17 * 32 * (4 if precision == "float32" else 2)  # bytes: images × tokens × width
    room = None if batches is None else batches * one
    m, n = tiny_clip.model.get_parameter(SECOND).shape
    updates = [None, *(Update({SECOND: Factors(torch.ones(1, n), size * torch.ones(m, 1))}) for size in (0.01, 0.3))]
    whole, kept = judge_from(None, precision=precision), judge_from(1, room, precision=precision)
    for update in (*updates, *updates):
        assert np.array_equal(kept.probabilities(test_images, update), whole.probabilities(test_images, update))
    passes = []
    monkeypatch.setattr("sap.evaluate.runner.below", lambda *args: passes.append(args) or below(*args))
    kept.probabilities(test_images, None)
    assert len(passes) == computed_again


def test_an_update_below_what_is_kept_is_refused(tiny_clip, judge_from, test_images):
    with pytest.raises(ValueError, match="below block 1"):
        judge_from(1).probabilities(test_images, update_of(tiny_clip.model, 1.0))


@pytest.mark.parametrize(
    "words", ["CUDA out of memory. Tried to allocate 9 GiB", "DefaultCPUAllocator: can't allocate memory"]
)
def test_out_of_memory_halves_the_batch_and_says_so(judge_of, test_images, monkeypatch, capsys, words):
    judge = judge_of(64)
    expected = judge.probabilities(test_images, None)
    encode = judge.backbone.model.encode_image

    def crowded(pixels, normalize):
        if len(pixels) > 2:
            raise RuntimeError(words)
        return encode(pixels, normalize)

    monkeypatch.setattr(judge.backbone.model, "encode_image", crowded)
    assert np.allclose(judge.probabilities(test_images, None), expected, atol=1e-6)
    assert judge.batch_size == 2
    assert [line.split(" images")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"out of memory with {size}" for size in (64, 32, 16, 8, 4)
    ]
    monkeypatch.setattr(
        judge.backbone.model, "encode_image", lambda pixels, normalize: crowded(pixels.repeat(9, 1, 1, 1), normalize)
    )
    with pytest.raises(SapError, match="memory of cpu does not suffice for one image"):
        judge.probabilities(test_images, None)


def test_other_errors_of_the_model_are_not_taken_for_a_lack_of_memory(judge_of, test_images, monkeypatch):
    judge = judge_of()

    def broken(pixels, normalize):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(judge.backbone.model, "encode_image", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        judge.probabilities(test_images, None)


def fold(trained, merge=None):
    return Fold(tuple(trained), trained, merge, trained.get, None, None, None)


def test_ensembles_average_probabilities_or_logits(judge_of, test_images):
    judge = judge_of()
    points = [{"id": kind, "settings": {"kind": kind}} for kind in ("ensemble", "ensemble_logits")]
    plan = made_fold(clients={"a": "", "b": ""}, domains={"sketch": ""}, target="sketch", points=points)
    trained = {name: update_of(judge.backbone.model, size) for name, size in (("a", 0.5), ("b", 2.0))}
    wanted = {(point["id"], *Judged("sketch")): "0" for point in points}
    rows = list(judge_points(plan, wanted, judge, {Judged("sketch"): test_images}, fold(trained), []))
    found = {row["point"]: probabilities for row, probabilities, _ in rows}
    entries = [entry for update in trained.values() for entry in update.values()]
    kept = sum(tensor.numel() for entry in entries for tensor in tensors_of(entry))
    assert [(row["passes"], row["parameters"]) for row, _, _ in rows] == [(2, kept)] * 2
    logits = [judge.logits(test_images, update) for update in trained.values()]
    assert np.allclose(found["ensemble"], (softmax(logits[0]) + softmax(logits[1])) / 2, atol=1e-6)
    assert np.allclose(found["ensemble_logits"], softmax((logits[0] + logits[1]) / 2), atol=1e-6)
    assert np.abs(found["ensemble"] - found["ensemble_logits"]).max() > 1e-3


@pytest.fixture
def judged(judge_of, test_images):
    """Judges the points first, broken and last on two domains; `merge(name)` makes their updates."""

    def run(merge):
        names, tests = ("first", "broken", "last"), {Judged(domain): test_images for domain in ("sketch", "photo")}
        points = [
            {"id": name, "settings": {"kind": "merge", "merge": name}, "judged_on": ["clients"]} for name in names
        ]
        plan = made_fold(domains={"sketch": "", "photo": ""}, target="sketch", seed=3, points=points)
        wanted, failed = {(name, *judged): f"{name} {judged.domain}" for name in names for judged in tests}, []
        rows = [
            row
            for row, *_ in judge_points(plan, wanted, judge_of(), tests, fold({}, lambda s: merge(s["merge"])), failed)
        ]
        assert all(row["key"] == f"{row['point']} {row['domain']}" for row in rows)
        return rows, failed

    return run


ERRORS = [
    (SapError("the Grams are singular"), "the Grams are singular"),
    (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero (not foreseen; the job's log has the traceback)"),
]


@pytest.mark.parametrize(("error", "sentence"), ERRORS, ids=["refused", "a bug"])
def test_a_point_that_cannot_be_merged_stops_no_other_and_says_why(judged, tiny_clip, error, sentence):
    def merge(name):
        if name == "broken":
            raise error
        return update_of(tiny_clip.model, 1.0)

    rows, failed = judged(merge)
    assert [row["point"] for row in rows] == ["first", "first", "last", "last"]
    common = {"stage": "evaluate", "point": "broken", "target": "sketch", "seed": 3, "error": sentence}
    assert failed == [common | Judged(domain)._asdict() for domain in ("sketch", "photo")]


def test_a_merge_that_predicts_nan_stops_no_other(judged, tiny_clip):
    rows, failed = judged(lambda name: update_of(tiny_clip.model, 1e38 if name == "broken" else 1.0))
    assert [row["point"] for row in rows] == ["first", "first", "last", "last"]
    assert [row["domain"] for row in failed] == ["sketch", "photo"]
    assert all("predicts NaN" in row["error"] for row in failed)


@pytest.mark.parametrize(
    "error", [MachineError("no space left"), MemoryError(), OSError(5, "I/O"), RuntimeError("CUDA out of memory")]
)
def test_what_the_machine_lacks_is_no_fault_of_a_point_and_ends_the_job(judged, error):
    def merge(name):
        raise error

    with pytest.raises(type(error)):
        judged(merge)


def test_a_row_that_json_cannot_hold_stops_no_other(judged, tiny_clip):
    update = update_of(tiny_clip.model, 1.0)
    rows, failed = judged(lambda name: Endless(update) if name == "broken" else update)
    assert [row["point"] for row in rows] == ["first", "first", "last", "last"]
    assert [row["domain"] for row in failed] == ["sketch", "photo"]
    assert all("one of its numbers is NaN or infinite" in row["error"] for row in failed)


class Endless(Update):
    """An update whose norm overflows."""

    def norm(self) -> float:
        return float("inf")


def test_a_product_of_two_points_is_the_softmax_of_the_mean_of_their_logits(judge_of, test_images):
    judge = judge_of()
    update = update_of(judge.backbone.model, 2.0)
    settings = {"kind": "product", "serve": {"weight": 0.25}, "beside": [{"kind": "zero_shot"}]}
    points = [{"id": "both", "settings": settings}]
    plan = made_fold(domains={"sketch": ""}, target="sketch", points=points)
    wanted, tests = {("both", *Judged("sketch")): "0"}, {Judged("sketch"): test_images}
    ((row, found, _),) = judge_points(plan, wanted, judge, tests, fold({}, lambda _: update), [])
    own, other = judge.logits(test_images, update), judge.logits(test_images, None)
    assert np.allclose(found, softmax(0.25 * own + 0.75 * other), atol=1e-5)
    kept = sum(tensor.numel() for entry in update.values() for tensor in tensors_of(entry))
    assert (row["passes"], row["parameters"]) == (2, kept)
    nested = {"kind": "product", "serve": {"weight": 0.5}, "beside": [settings]}
    plan = made_fold(domains={"sketch": ""}, target="sketch", points=[{"id": "both", "settings": nested}])
    ((row, found, _),) = judge_points(plan, wanted, judge, tests, fold({}, lambda _: update), [])
    assert np.allclose(found, softmax(0.625 * own + 0.375 * other), atol=1e-5)
    assert (row["passes"], row["parameters"]) == (3, 2 * kept)


def test_a_held_out_row_is_of_the_fold_without_its_domains_clients(judge_of, test_images):
    judge, updates = judge_of(), {}
    for name, size in (("all", 2.0), ("without photo", 0.5)):
        updates[name] = update_of(judge.backbone.model, size)
    less = fold({}, lambda _: updates["without photo"])
    whole = replace(fold({}, lambda _: updates["all"]), without={"photo": less}.__getitem__)
    points = [{"id": "p", "settings": {"kind": "merge"}, "judged_on": ["held_out"]}]
    plan = made_fold(domains={"sketch": "", "photo": ""}, target="sketch", points=points)
    tests = {Judged("sketch"): test_images, Judged("photo", HELD_OUT): test_images}
    rows = list(judge_points(plan, {("p", *judged): "0" for judged in tests}, judge, tests, whole, []))
    found = {row["images"]: (row["norm"], probabilities) for row, probabilities, _ in rows}
    for images, name in (("test", "all"), (HELD_OUT, "without photo")):
        assert found[images][0] == updates[name].norm()
        assert np.array_equal(found[images][1], judge.probabilities(test_images, updates[name]))


def test_class_features_of_a_models_own_take_the_place_of_the_frozen_ones(judge_of, test_images):
    judge = judge_of()
    images = judge.image_features(test_images, None)
    own = torch.from_numpy(images[:2])  # the classes look like the first two images
    logits = judge.logits(test_images, None, own)
    assert np.allclose(logits, judge.logit_scale * images @ images[:2].T, atol=1e-4)
    assert np.array_equal(judge.logits(test_images, None, judge.features), judge.logits(test_images, None))
