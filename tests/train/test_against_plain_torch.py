"""Every option of the training against a loop without any of our training code: AdamW, LoRA and images by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta
from torch.func import functional_call
from torch.nn.functional import pad

from sap.clip.backbone import load_backbone
from sap.clip.lora import OUT_PROJ_TIMES, add_adapter, lora_layers, trainable
from sap.clip.options import LoraOptions
from sap.io import seed_of
from sap.train.client import train_client
from sap.train.examples import Examples
from sap.train.options import DistillOptions, TrainOptions
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
    {"average": "beta"},
    {"average": "swa"},
    {"average": "swa", "average_start": 0.2},
    {"margin": 0.5},
    {"random_scale": 0.2},
    {"orthogonal": 1.0},
    {"pego": 0.01},
    {"distill": {"kind": "classes"}},
    {"distill": {"kind": "classes", "temperature": 3.0}},
    {"distill": {"kind": "classes", "weight": 5.0}},
    {"distill": {"kind": "random_texts", "weight": 0.1}},
    {"distill": {"kind": "random_texts", "weight": 0.1, "texts": 3}},
]
CLOSE = 2e-3  # relative distance of all factors: two orders of float32 sums, seven steps of AdamW
FAR = 10 * CLOSE  # an option that acts moves them by more than that


def options_of(changes: dict) -> TrainOptions:
    distill, lora = DistillOptions(**changes.get("distill", {})), LoraOptions(**{"rank": 4} | changes.get("lora", {}))
    return TrainOptions(**PLAIN | changes | {"distill": distill, "lora": lora})


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
    iterates = [copies_of(factors)]
    for number in range(total):
        epoch, step = divmod(number, per_epoch)
        order = torch.randperm(len(LABELS), generator=generator("order", NAME, SEED, epoch))
        which = order[step * given.batch_size : (step + 1) * given.batch_size]
        pixels = moved(inputs(which), given.augment, generator("step", NAME, SEED, epoch, step))
        draw = seed_of("step", NAME, SEED, epoch, step)
        shrunk = 1.0
        if given.random_scale is not None:
            shrunk = given.random_scale + (1 - given.random_scale) * float(
                torch.rand((), generator=generator("scale", draw))
            )
        deltas = deltas_of(factors, layers, given.lora)
        features = unit(functional_call(model.visual, updated(frozen, deltas, shrunk), (pixels,)))
        labels = torch.from_numpy(LABELS)[which]
        logits = scale * features @ TEXT.T
        apart = torch.stack([TEXT @ TEXT[label] for label in labels])
        logs = (logits - given.margin * scale * apart).log_softmax(dim=1)
        wanted = torch.full_like(logs, given.label_smoothing / CLASSES)
        wanted[torch.arange(len(which)), labels] += 1 - given.label_smoothing
        loss = -(wanted * logs).sum(dim=1).mean()
        with torch.no_grad():
            teacher = unit(model.visual(pixels))
        if given.distill.kind == "classes":
            hot = given.distill.temperature
            theirs, ours = ((each / hot).log_softmax(dim=1) for each in (scale * teacher @ TEXT.T, logits))
            loss = loss + given.distill.weight * hot**2 * (theirs.exp() * (theirs - ours)).sum(dim=1).mean()
        if given.distill.kind == "random_texts":
            words = torch.randint(0, 49406, (given.distill.texts, 8), generator=generator("texts", draw))
            texts = unit(model.encode_text(torch.tensor([[49406, *row, 49407] + 14 * [0] for row in words.tolist()])))
            moves = scale * features @ texts.T - scale * teacher @ texts.T
            loss = loss + given.distill.weight * (moves**2).sum(dim=1).mean() / (2 * len(texts))
        for layer in layers:
            a = factors[f"{layer}.lora_A.default.weight"]
            loss = loss + given.orthogonal * ((a @ a.T - torch.eye(len(a))) ** 2).sum()
        for name, delta in deltas.items():
            thirds = [slice(None)] if "in_proj" not in name else [slice(i * 32, i * 32 + 32) for i in range(3)]
            loss = loss + given.pego * sum((frozen[name][rows] @ delta[rows].T).abs().sum() for rows in thirds)
        gradients = torch.autograd.grad(loss, list(factors.values()))
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
        iterates.append(copies_of(factors))
    return averaged(iterates, given)


def copies_of(factors) -> dict[str, torch.Tensor]:
    return {name: factor.detach().clone() for name, factor in factors.items()}


def averaged(iterates: list[dict[str, torch.Tensor]], given: TrainOptions) -> dict[str, torch.Tensor]:
    """The last iterate, the mean of those after `average_start`, or that with Beta weights; the first is the start."""
    steps = len(iterates) - 1
    if given.average == "beta":
        weights = beta.pdf((np.arange(steps + 1) + 0.5) / (steps + 1), 0.5, 0.5)
    elif given.average == "swa":
        weights = np.arange(steps + 1) > given.average_start * steps
    else:
        weights = np.arange(steps + 1) == steps
    shares = weights / weights.sum()
    return {
        name: sum(float(share) * iterate[name] for share, iterate in zip(shares, iterates, strict=True))
        for name in iterates[0]
    }


def unit(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=1, keepdim=True)


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


def updated(frozen, deltas, scale: float) -> dict[str, torch.Tensor]:
    """The visual tower's weights, W0 + scale · ΔW where there is an update."""
    return frozen | {name: frozen[name] + scale * delta for name, delta in deltas.items()}


def deltas_of(factors, layers, lora: LoraOptions) -> dict[str, torch.Tensor]:
    """Every update α/r · B·A by the name of its weight; stock peft counts out_proj twice."""
    deltas = {}
    for layer in layers:
        path = layer.removeprefix("base_model.model.visual.").replace(".base_layer", "")
        name = f"{path}.in_proj_weight" if path.endswith(".attn") else f"{path}.weight"
        times = OUT_PROJ_TIMES if path.endswith("out_proj") else 1
        a, b = (factors[f"{layer}.lora_{side}.default.weight"] for side in "AB")
        deltas[name] = times * lora.alpha / lora.rank * b @ a
    return deltas


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
