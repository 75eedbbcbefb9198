"""Local training: it learns, it repeats, it resumes."""

import os
import signal

import numpy as np
import pytest
import torch

from sap.clip import prompts
from sap.clip.backbone import load_backbone
from sap.clip.lora import add_adapter, trainable
from sap.clip.options import LoraOptions
from sap.clip.prompts import prompt_features
from sap.errors import SapError
from sap.train import client
from sap.train.client import train_client
from sap.train.examples import Examples
from sap.train.loop import accuracy
from sap.train.options import DistillOptions, TrainOptions
from sap.train.resume import ResumeFile

OPTIONS = TrainOptions(epochs=3, batch_size=16, learning_rate=0.02, lora=LoraOptions(rank=4))


def examples(n, seed):
    """Bright, dark and striped images: three classes that any model can tell apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.integers(0, 60, (n, 16, 16, 3), np.uint8)
    images[labels == 1] += 180
    images[labels == 2, ::4] += 180
    return Examples((images,), np.zeros(n, np.int64), np.arange(n), labels)


TEXT = torch.nn.functional.normalize(torch.randn(3, 16, generator=torch.Generator().manual_seed(0)), dim=1)
# tokens (C,T,L): begin, one or two words, end, nothing
PROMPTS = torch.tensor([[[49406, 320, word, 49407] + 20 * [0]] for word in (1929, 2368, 5567)])
TRAIN, VAL = examples(41, 0), examples(12, 1)  # 41 is no multiple of 16: the last batch is smaller


@pytest.fixture
def train(tiny_clip_folder):
    def run(options=OPTIONS, trainee="art", seed=0, val=VAL, text=TEXT, **more):
        more = {"prompts": PROMPTS if options.lora.towers == "both" else None, **more}
        return train_client(load_backbone(tiny_clip_folder), text, TRAIN, val, options, trainee, seed, **more)

    return run


def factors(trained):
    return {name: factor.detach() for name, factor in trainable(trained.adapted).items()}


def same(one, two):
    return all(torch.equal(tensor, factors(two)[name]) for name, tensor in factors(one).items())


def options(**changes):
    lora = LoraOptions(rank=4, **changes.pop("lora", {}))
    return TrainOptions(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.02, "lora": lora} | changes)


def test_training_lowers_the_loss_and_lifts_the_accuracy(train):
    trained = train(options(epochs=8))
    assert trained.history[-1]["loss"] < 0.3 * trained.history[0]["loss"]
    assert trained.val_accuracy == trained.history[-1]["val_accuracy"]
    assert trained.val_accuracy > max(0.9, trained.start_accuracy)
    assert set(trained.history[0]) == {"epoch", "loss", "val_accuracy", "learning_rate", "seconds", "images_per_second"}


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(train):
    assert same(train(), train())
    assert not same(train(), train(seed=1))
    assert not same(train(), train(trainee="sketch"))


@pytest.mark.parametrize(("which", "frozen"), [("A", "lora_B"), ("B", "lora_A")])
def test_a_frozen_factor_keeps_its_start(train, which, frozen):
    trained = train(options(lora={"factors": which}))
    before = train(options(lora={"factors": which}, epochs=1, learning_rate=1e-12))
    after = {name: p for name, p in trained.adapted.named_parameters() if "lora_" in name}
    start = {name: p for name, p in before.adapted.named_parameters() if "lora_" in name}
    for name, factor in after.items():
        assert torch.equal(factor, start[name]) == (frozen in name)


class Killed(Exception):
    pass


BOTH_DROPPED = {"towers": "both", "dropout": 0.3}
CHANGES = [
    {},
    {"lora": {"dropout": 0.3}},
    {"early_stop": 2, "epochs": 5},
    {"lora": BOTH_DROPPED},
    {"average": "beta", "random_scale": 0.5, "distill": DistillOptions("random_texts", texts=5)},
    {"average": "swa", "average_start": 0.2, "margin": 0.3, "orthogonal": 0.1, "pego": 0.001},
    {"average": "beta", "random_scale": 0.5, "distill": DistillOptions("classes"), "lora": BOTH_DROPPED},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_training_killed_after_an_epoch_ends_with_the_same_bits(train, tmp_path, changes, epoch):
    whole = train(options(**changes))

    def kill(history):
        if len(history) == epoch:
            raise Killed

    resume = ResumeFile(tmp_path / "side", "id")
    with pytest.raises(Killed):
        train(options(**changes), resume=resume, on_epoch=kill)
    resumed = train(options(**changes), resume=resume)
    assert same(whole, resumed)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]
    assert (resumed.start_accuracy, resumed.val_accuracy) == (whole.start_accuracy, whole.val_accuracy)


@pytest.mark.parametrize("step", [5, 6], ids=["middle of an epoch", "last step of an epoch"])
def test_sigterm_stops_after_a_step_with_status_143_and_the_rest_gives_the_same_bits(
    train, tmp_path, monkeypatch, step
):
    whole, steps = train(), []

    def terminate(*args):
        steps.append(1)
        if len(steps) == step:  # of three in each epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args)

    original = client.augment
    monkeypatch.setattr(client, "augment", terminate)
    before = signal.getsignal(signal.SIGTERM)
    resume = ResumeFile(tmp_path / "side", "id")
    with pytest.raises(SystemExit) as stopped:
        train(resume=resume)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = train(resume=resume)
    assert len(steps) == 9  # no step was done twice
    assert same(whole, resumed)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_a_state_of_other_settings_or_a_broken_one_is_not_used(train, tmp_path):
    whole = train()
    train(options(learning_rate=0.5), resume=ResumeFile(tmp_path, "other"))
    resume = ResumeFile(tmp_path, "id")
    assert resume.load() is None
    assert same(whole, train(resume=resume))
    assert resume.load() is not None
    resume.path.write_bytes(resume.path.read_bytes()[:50])
    assert same(whole, train(resume=resume))
    resume.remove()
    assert not resume.folder.exists()


def test_early_stopping_keeps_the_best_epoch_and_stops(train):
    trained = train(options(epochs=30, early_stop=2))
    accuracies = [row["val_accuracy"] for row in trained.history]
    assert trained.val_accuracy == max(accuracies)
    assert len(accuracies) == accuracies.index(max(accuracies)) + 1 + 2
    shorter = train(options(epochs=30, early_stop=1))
    assert len(shorter.history) <= len(accuracies)


@pytest.mark.parametrize(
    "changes",
    [
        {"distill": DistillOptions("classes", weight=0.0)},
        {"distill": DistillOptions("random_texts", weight=0.0)},
        {"random_scale": 1.0},
        {"average": "swa", "average_start": 0.99},
        {"average_start": 0.1},
    ],
    ids=str,
)
def test_an_option_at_its_limit_is_the_plain_training_bit_for_bit(train, changes):
    assert same(train(), train(options(**changes)))


def test_of_an_average_the_accuracy_is_that_of_the_uploaded_model(train, tiny_clip_folder):
    trained = train(options(average="beta", learning_rate=0.01, epochs=1))
    backbone = load_backbone(tiny_clip_folder)
    adapted = add_adapter(backbone.model, LoraOptions(rank=4), 0, "art")
    for name, factor in trainable(adapted).items():
        factor.data.copy_(factors(trained)[name])
    assert trained.val_accuracy == accuracy(backbone, VAL, lambda: TEXT, "auto")
    assert trained.val_accuracy != trained.history[-1]["val_accuracy"]


def test_an_average_keeps_many_iterates_and_early_stopping_one(train):
    with pytest.raises(SapError, match=r"train\.early_stop keeps one epoch, and train\.average: swa many\. Set"):
        train(options(early_stop=1, average="swa"))


@pytest.mark.parametrize("kind", ["classes", "random_texts"])
def test_a_heavy_distillation_holds_the_update_back(train, kind):
    def length(distill):
        return sum(float(factor.norm()) for name, factor in factors(train(distill)).items() if "lora_B" in name)

    distill = DistillOptions(kind, weight=100.0, texts=5)
    assert length(options(distill=distill, gradient_clip=None)) < 0.7 * length(options(gradient_clip=None))


def test_distillation_leaves_a_frozen_factor_frozen(train):
    trained = train(options(lora={"factors": "B"}, distill=DistillOptions("classes")))
    assert all("lora_B" in name for name in factors(trained))


def test_without_validation_images_training_runs_and_early_stopping_is_refused(train):
    nothing = Examples(VAL.sources, VAL.source[:0], VAL.row[:0], VAL.labels[:0])
    trained = train(val=nothing)
    assert trained.val_accuracy is trained.start_accuracy is None
    with pytest.raises(SapError, match="early_stop"):
        train(options(early_stop=1), val=nothing)


def test_a_loss_that_is_not_finite_names_the_trainee_the_epoch_and_the_next_step(train):
    with pytest.raises(SapError, match=r"art, seed 0: .* nan\) in epoch 1\. Lower train\.learning_rate \(now 0\.02\)"):
        train(text=TEXT * torch.nan)


def test_factors_that_only_the_last_step_broke_are_not_uploaded(train):
    with pytest.raises(SapError, match=r"art, seed 0: the update diverged \(loss \d"):
        train(options(epochs=1, batch_size=64, learning_rate=float("inf")))


def test_both_towers_train_and_the_frozen_text_features_are_not_read(train):
    trained = train(options(lora={"towers": "both"}, epochs=8), text=None)
    assert trained.history[-1]["loss"] < 0.3 * trained.history[0]["loss"]
    assert trained.val_accuracy > trained.start_accuracy
    trained_b = [factor for name, factor in factors(trained).items() if "lora_B" in name and ".visual." not in name]
    assert len(trained_b) == 4
    assert all(factor.any() for factor in trained_b)


def test_both_towers_start_where_the_frozen_text_features_do(train, tiny_clip_folder):
    text = prompt_features(load_backbone(tiny_clip_folder), PROMPTS)
    still = {"epochs": 1, "learning_rate": 1e-12}
    frozen, both = train(options(**still), text=text), train(options(**still, lora={"towers": "both"}))
    assert both.history[0]["loss"] == pytest.approx(frozen.history[0]["loss"], rel=1e-5)
    assert both.start_accuracy == frozen.start_accuracy


def test_parts_of_the_texts_are_computed_again_with_their_own_dropout(train, monkeypatch):
    monkeypatch.setattr(prompts, "TEXT_BATCH", 2)
    changes = {"lora": {"towers": "both", "dropout": 0.5}, "epochs": 1}
    again = train(options(**changes))
    monkeypatch.setattr(prompts, "checkpoint", lambda function, part, **options: function(part))
    assert same(again, train(options(**changes)))


def test_both_towers_without_prompts_are_refused(train):
    with pytest.raises(SapError, match=r"train\.lora\.towers: both needs the class prompts, art has none"):
        train(options(lora={"towers": "both"}), prompts=None)


@pytest.mark.parametrize("towers", ["visual", "both"])
def test_bf16_trains_too(train, towers):
    trained = train(options(precision="bfloat16", epochs=5, lora={"towers": towers}))
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
