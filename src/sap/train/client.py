"""Local training: one trainee adapts the frozen CLIP to its own images, by LoRA."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from sap.cli import TERMINATED
from sap.clip.backbone import Backbone
from sap.clip.lora import add_adapter, set_dropout, trainable
from sap.errors import SapError
from sap.io import seed_of
from sap.progress import bar
from sap.train.augment import augment
from sap.train.averaging import iterate_weight, take_iterate
from sap.train.examples import Examples
from sap.train.loop import accuracy, learning_rate, texts_of
from sap.train.objective import Objective
from sap.train.options import TrainOptions
from sap.train.resume import ResumeFile, catch_sigterm
from sap.train.scaling import draw_scale, scaled_update

Row = dict[str, Any]


@dataclass
class Counters:
    """Where a training stands; everything random is derived from (epoch, step), so this and the tensors are all."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the running epoch
    start_accuracy: float | None = None  # of the frozen backbone on the validation images
    best_epoch: int = 0
    best_accuracy: float = -1.0
    averaged: float = 0.0  # weight of the iterates that are in the average
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """The PEFT model (the last epoch's adapter, the best one's with early stopping, or the average of iterates) and how
    it got there.

    A history row is {"epoch", "loss", "val_accuracy", "learning_rate", "seconds", "images_per_second"}; accuracies are
    shares 0-1, None without validation images.
    """

    adapted: nn.Module
    history: list[Row]
    start_accuracy: float | None
    val_accuracy: float | None

    def summary(self) -> dict[str, Any]:
        """The facts for the client's own record: accuracies on the client's validation images, epochs run."""
        return {
            "start_accuracy": self.start_accuracy,
            "val_accuracy": self.val_accuracy,
            "epochs": len(self.history),
        }


def train_client(
    backbone: Backbone,
    text_features: torch.Tensor,
    train: Examples,
    val: Examples,
    options: TrainOptions,
    trainee: str,
    seed: int,
    resume: ResumeFile | None = None,
    on_epoch: Callable[[list[Row]], None] = lambda history: None,
    prompts: torch.Tensor | None = None,
) -> Trained:
    """Minimise the objective (sap.train.objective) against frozen text features (C,E) over a LoRA update.

    With train.lora.towers `both`, t_c are the features of `prompts`, tokens (C,T,L) of the classes in their templates,
    and every step computes them anew; `text_features` are then those of the frozen backbone, which only the
    distillation of classes reads.

    The adapter is injected into `backbone.model` in place. Order, augmentation and dropout are drawn from
    (trainee, seed, epoch, step). With `resume`, the state is saved after every epoch, and at SIGTERM after the running
    step, followed by exit status 143; the next call with the same identity ends with bit-identical factors.

    Raises SapError for a loss or a factor that is not finite, for early stopping without validation images or with an
    average of iterates, and for both towers without prompts.
    """
    if options.early_stop is not None and not len(val):
        raise SapError(
            f"train.early_stop needs validation images, {trainee} has none. Raise data.split.val or set it to null."
        )
    if options.early_stop is not None and options.average != "none":
        raise SapError(
            f"train.early_stop keeps one epoch, and train.average: {options.average} many. Set early_stop to null or "
            "average to none."
        )
    if options.lora.towers == "both" and prompts is None:
        raise SapError(f"train.lora.towers: both needs the class prompts, {trainee} has none. Embed the classes first.")

    def texts() -> torch.Tensor:
        if prompts is None or options.lora.towers == "visual":
            return text_features
        return texts_of(backbone, prompts, options.precision)

    adapted = add_adapter(backbone.model, options.lora, seed, trainee)
    factors = trainable(adapted)
    optimizer = torch.optim.AdamW(
        factors.values(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    objective = Objective(backbone, adapted, options, texts, text_features)
    counters, loss_sum = Counters(), torch.zeros((), device=backbone.device)
    kept: dict[str, dict[str, torch.Tensor]] = {"best": {}, "average": {}}  # factors beside the running ones
    per_epoch = -(-len(train) // options.batch_size)
    total = options.epochs * per_epoch

    def average(iterate: int) -> None:
        weight = iterate_weight(iterate, total, options)
        counters.averaged = take_iterate(kept["average"], counters.averaged, factors, weight)

    state = resume.load() if resume else None
    if state is not None:
        counters, loss_sum, kept = _restore(*state, factors, optimizer)
    else:
        counters.start_accuracy = accuracy(backbone, val, texts, options.precision)
        average(0)
    done = counters.epoch * per_epoch + counters.step

    def save() -> None:
        if resume:
            resume.save(_tensors(factors, optimizer, loss_sum, kept), asdict(counters))

    with catch_sigterm() as stop, bar(total=total, initial=done, desc=trainee, unit="step", disable=None) as steps:
        while counters.epoch < options.epochs and not _stalled(counters, options.early_stop):
            started, first = time.perf_counter(), counters.step
            order = torch.randperm(len(train), generator=_generator("order", trainee, seed, counters.epoch)).numpy()
            # A stop after the very last step resumes with none left of this epoch: only its end is done again.
            for step in range(first, per_epoch):
                which = order[step * options.batch_size : (step + 1) * options.batch_size]
                rate = learning_rate(counters.epoch * per_epoch + step, total, options)
                draw = seed_of("step", trainee, seed, counters.epoch, step)
                loss = _step(objective, factors, optimizer, train, which, rate, draw)
                loss_sum = loss_sum + loss * len(which)
                counters.step = step + 1
                average(counters.epoch * per_epoch + counters.step)
                steps.update()
                if stop.requested:
                    save()
                    sys.exit(TERMINATED)
            mean_loss = loss_sum.item() / len(train)
            # The last step of all can break the factors without any later loss to show it.
            if not torch.isfinite(loss_sum) or not all(factor.isfinite().all() for factor in factors.values()):
                raise SapError(
                    f"{trainee}, seed {seed}: the update diverged (loss {mean_loss}) in epoch {counters.epoch + 1}. "
                    f"Lower train.learning_rate (now {options.learning_rate}) or set train.gradient_clip."
                )
            seconds = time.perf_counter() - started
            images = max(0, len(train) - first * options.batch_size)
            val_accuracy = accuracy(backbone, val, texts, options.precision)
            counters.epoch, counters.step, loss_sum = counters.epoch + 1, 0, torch.zeros_like(loss_sum)
            counters.history.append(
                {
                    "epoch": counters.epoch,
                    "loss": mean_loss,
                    "val_accuracy": val_accuracy,
                    "learning_rate": learning_rate(counters.epoch * per_epoch - 1, total, options),
                    "seconds": round(seconds, 3),
                    "images_per_second": round(images / seconds, 1),
                }
            )
            if options.early_stop is not None and val_accuracy is not None and val_accuracy > counters.best_accuracy:
                counters.best_epoch, counters.best_accuracy = counters.epoch, val_accuracy
                kept["best"] = {name: factor.detach().clone() for name, factor in factors.items()}
            steps.set_postfix(loss=f"{mean_loss:.3f}", val="-" if val_accuracy is None else f"{val_accuracy:.3f}")
            save()
            on_epoch(counters.history)
    with torch.no_grad():
        for name, tensor in (kept["best"] | kept["average"]).items():
            factors[name].copy_(tensor)
    final = counters.history[counters.best_epoch - 1 if kept["best"] else -1]["val_accuracy"]
    if kept["average"]:
        final = accuracy(backbone, val, texts, options.precision)
    return Trained(adapted, counters.history, counters.start_accuracy, final)


def _step(objective: Objective, factors, optimizer, train, which, rate, draw) -> torch.Tensor:
    """One AdamW step at learning rate `rate` on the examples `which`; returns the batch's mean loss, detached."""
    backbone, adapted, options = objective.backbone, objective.adapted, objective.options
    labels = torch.from_numpy(train.labels[which]).to(backbone.device)
    pixels = backbone.normalise(train.images(which))
    pixels = augment(pixels, options.augment, torch.Generator().manual_seed(draw))
    optimizer.zero_grad(set_to_none=True)
    scale = 1.0 if options.random_scale is None else draw_scale(options.random_scale, draw)
    dropout = _dropout(adapted, backbone.device, draw) if options.lora.dropout else nullcontext()
    # The backward pass is inside: it computes parts of the text tower again, with the same dropout and scale.
    with dropout, scaled_update(adapted, scale):
        loss = objective(pixels, labels, draw)
        loss.backward()
    if options.gradient_clip is not None:
        clip_grad_norm_(factors.values(), options.gradient_clip)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return loss.detach()


@contextmanager
def _dropout(adapted, device: torch.device, draw: int) -> Iterator[None]:
    """LoRA dropout inside the block, drawn from `draw`, so that a resumed run agrees."""
    # Dropout knows the global generator only: it is seeded inside a fork.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(draw)
        set_dropout(adapted, True)
        yield
        set_dropout(adapted, False)


def _generator(*names: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*names))


def _stalled(counters: Counters, patience: int | None) -> bool:
    return patience is not None and counters.epoch - counters.best_epoch >= patience


def _tensors(factors, optimizer, loss_sum, kept) -> dict[str, torch.Tensor]:
    """Everything of a training that is not a counter, by name."""
    tensors = {"loss_sum": loss_sum} | {f"factor/{name}": factor for name, factor in factors.items()}
    for name, factor in factors.items():
        tensors |= {f"{key}/{name}": value for key, value in optimizer.state.get(factor, {}).items()}
    return tensors | {f"{key}/{name}": tensor for key, held in kept.items() for name, tensor in held.items()}


def _restore(tensors, counters, factors, optimizer) -> tuple[Counters, torch.Tensor, dict[str, dict]]:
    """Put a saved state back; the inverse of `_tensors`."""
    device = next(iter(factors.values())).device
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    for name, factor in factors.items():
        factor.data.copy_(tensors[f"factor/{name}"])
        keys = ("step", "exp_avg", "exp_avg_sq")
        if f"step/{name}" in tensors:
            optimizer.state[factor] = {key: tensors[f"{key}/{name}"] for key in keys}
    kept = {
        key: {name: tensors[f"{key}/{name}"] for name in factors if f"{key}/{name}" in tensors}
        for key in ("best", "average")
    }
    return Counters(**counters), tensors["loss_sum"], kept
