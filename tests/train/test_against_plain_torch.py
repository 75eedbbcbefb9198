"""Every option of the training against a loop without any of our training code: AdamW, LoRA and images by hand."""

import math

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import pad

from sap.clip.backbone import load_backbone
from sap.clip.lora import OUT_PROJ_TIMES, add_adapter, lora_layers, trainable
from sap.clip.options import LoraOptions
from sap.io import seed_of
from sap.train.client import train_client
from sap.train.examples import Examples
from sap.train.options import TrainOptions
from tests.conftest import TINY_PREPROCESS

NAME, SEED, CLASSES = "art", 3, 3
rng = np.random.default_rng(0)
LABELS = np.arange(23) % CLASSES
IMAGES = rng.integers(0, 256, (23, 16, 16, 3), np.uint8)
TEXT = torch.nn.functional.normalize(torch.randn(CLASSES, 16, generator=torch.Generator().manual_seed(0)), dim=1)
PLAIN = {"epochs": 2, "batch_size": 9, "learning_rate": 0.01, "schedule": "constant", "warmup": 0.0}
PLAIN |= {"gradient_clip": None, "augment": "none", "precision": "float32"}
CHANGES = [
    {"epochs": 3},
    {"batch_size": 6},
    {"learning_rate": 0.003},
    {"weight_decay": 2.0},
    {"schedule": "cosine"},
    {"schedule": "linear"},
    {"warmup": 0.4},
    {"label_smoothing": 0.3},
    {"gradient_clip": 0.5},
    {"augment": "shift"},
    {"augment": "flip_shift"},
    {"lora": {"rank": 2}},
    {"lora": {"alpha": 3.0}},
    {"lora": {"targets": ("attention", "mlp_out")}},
    {"lora": {"first_block": 1}},
]
CLOSE = 2e-3  # relative distance of all factors: two orders of float32 sums, seven steps of AdamW
FAR = 10 * CLOSE  # an option that acts moves them by more than that


def options_of(changes: dict) -> TrainOptions:
    return TrainOptions(**PLAIN | changes | {"lora": LoraOptions(**{"rank": 4} | changes.get("lora", {}))})


def ours(folder, changes: dict) -> dict[str, torch.Tensor]:
    rows = np.arange(len(LABELS))
    train = Examples((IMAGES,), np.zeros_like(rows), rows, LABELS)
    nobody = Examples((IMAGES,), rows[:0], rows[:0], LABELS[:0])
    trained = train_client(load_backbone(folder), TEXT, train, nobody, options_of(changes), NAME, SEED)
    return {name: factor.detach() for name, factor in trainable(trained.adapted).items()}


def by_hand(folder, changes: dict) -> dict[str, torch.Tensor]:
    """The same training; of the library it has the start values and the names from which random numbers are drawn."""
    given = options_of(changes)
    adapted = add_adapter(load_backbone(folder).model, given.lora, SEED, NAME)
    factors = {name: factor.detach().clone().requires_grad_() for name, factor in trainable(adapted).items()}
    layers = [layer for layer, _ in lora_layers(adapted)]
    model = load_backbone(folder).model
    frozen = dict(model.visual.named_parameters())
    scale = model.logit_scale.detach().exp()
    moments = {name: (torch.zeros_like(factor), torch.zeros_like(factor)) for name, factor in factors.items()}
    per_epoch = math.ceil(len(LABELS) / given.batch_size)
    total = given.epochs * per_epoch
    for number in range(total):
        epoch, step = divmod(number, per_epoch)
        order = torch.randperm(len(LABELS), generator=generator("order", NAME, SEED, epoch))
        which = order[step * given.batch_size : (step + 1) * given.batch_size]
        pixels = moved(inputs(which), given.augment, generator("step", NAME, SEED, epoch, step))
        weights = updated(frozen, factors, layers, given.lora)
        features = functional_call(model.visual, weights, (pixels,))
        logits = scale * features / features.norm(dim=1, keepdim=True) @ TEXT.T
        logs = logits - logits.logsumexp(dim=1, keepdim=True)
        wanted = torch.full_like(logs, given.label_smoothing / CLASSES)
        wanted[torch.arange(len(which)), torch.from_numpy(LABELS)[which]] += 1 - given.label_smoothing
        gradients = torch.autograd.grad(-(wanted * logs).sum(dim=1).mean(), list(factors.values()))
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
        shrink = 1.0 if given.gradient_clip is None else min(1.0, given.gradient_clip / float(norm))
        rate = rate_of(number, total, given)
        for (name, factor), gradient in zip(factors.items(), gradients, strict=True):
            first, second = moments[name]
            first.mul_(0.9).add_(0.1 * shrink * gradient)
            second.mul_(0.999).add_(0.001 * (shrink * gradient) ** 2)
            root = (second / (1 - 0.999 ** (number + 1))).sqrt() + 1e-8
            with torch.no_grad():
                factor.mul_(1 - rate * given.weight_decay)
                factor.sub_(rate * first / (1 - 0.9 ** (number + 1)) / root)
    return {name: factor.detach() for name, factor in factors.items()}


def generator(*names) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*names))


def inputs(which: torch.Tensor) -> torch.Tensor:
    """What the model takes: (N,3,16,16) float32."""
    mean, std = torch.tensor(TINY_PREPROCESS["mean"]), torch.tensor(TINY_PREPROCESS["std"])
    return ((torch.from_numpy(IMAGES[which.numpy()]) / 255 - mean) / std).permute(0, 3, 1, 2)


def moved(pixels: torch.Tensor, kind: str, draws: torch.Generator) -> torch.Tensor:
    """Image by image: mirrored, then cut out of the image that is reflected at its border, one pixel of 16."""
    if kind == "none":
        return pixels
    mirrored = torch.rand(len(pixels), generator=draws) < 0.5 if kind == "flip_shift" else [False] * len(pixels)
    tops, lefts = torch.randint(0, 3, (2, len(pixels)), generator=draws).tolist()
    found = []
    for image, mirror, top, left in zip(pixels, mirrored, tops, lefts, strict=True):
        whole = pad(image.flip(2) if mirror else image, (1, 1, 1, 1), mode="reflect")
        found.append(whole[:, top : top + 16, left : left + 16])
    return torch.stack(found)


def updated(frozen, factors, layers, lora: LoraOptions) -> dict[str, torch.Tensor]:
    """The visual tower's weights, W0 + α/r · B·A where there is an update; stock peft counts out_proj twice."""
    weights = dict(frozen)
    for layer in layers:
        path = layer.removeprefix("base_model.model.visual.").replace(".base_layer", "")
        name = f"{path}.in_proj_weight" if path.endswith(".attn") else f"{path}.weight"
        times = OUT_PROJ_TIMES if path.endswith("out_proj") else 1
        a, b = (factors[f"{layer}.lora_{side}.default.weight"] for side in "AB")
        weights[name] = frozen[name] + times * lora.alpha / lora.rank * b @ a
    return weights


def rate_of(number: int, total: int, given: TrainOptions) -> float:
    """The learning rate of a step, from 0: a linear rise to the peak, then the schedule."""
    rising = round(given.warmup * total)
    if number < rising:
        return given.learning_rate * (number + 1) / rising
    gone = (number - rising) / (total - rising)
    falls = {"constant": 1.0, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}
    return given.learning_rate * falls[given.schedule]


def distance(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """Relative, over all factors; infinite where they are not of the same layers and shapes."""
    shapes = [{name: factor.shape for name, factor in factors.items()} for factors in (one, two)]
    if shapes[0] != shapes[1]:
        return math.inf
    squares = [sum(float((factors[0][n] - factors[1][n]).square().sum()) for n in one) for factors in [(one, two)]]
    return math.sqrt(squares[0] / sum(float(factor.square().sum()) for factor in two.values()))


@pytest.fixture(scope="module")
def plain(tiny_clip_folder):
    """Our training with no option set: what each change is told from."""
    return ours(tiny_clip_folder, {})


def test_a_plain_training_is_the_one_by_hand(plain, tiny_clip_folder):
    assert distance(plain, by_hand(tiny_clip_folder, {})) < CLOSE


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_every_option_does_to_the_factors_what_it_does_by_hand(changes, plain, tiny_clip_folder):
    trained = ours(tiny_clip_folder, changes)
    assert distance(trained, by_hand(tiny_clip_folder, changes)) < CLOSE
    assert distance(trained, plain) > FAR


def test_augmented_images_are_mirrored_or_not_and_shifted_by_at_most_a_pixel(tiny_clip_folder):
    trained = ours(tiny_clip_folder, {"augment": "shift"})
    assert distance(trained, ours(tiny_clip_folder, {"augment": "flip_shift"})) > FAR
    assert distance(trained, ours(tiny_clip_folder, {"augment": "shift"})) == 0


def test_bf16_is_close_to_float32_and_not_the_same(plain, tiny_clip_folder):
    assert CLOSE < distance(ours(tiny_clip_folder, {"precision": "bfloat16"}), plain) < 0.5


def test_dropout_changes_the_factors_of_a_training(plain, tiny_clip_folder):
    assert distance(ours(tiny_clip_folder, {"lora": {"dropout": 0.3}}), plain) > FAR
