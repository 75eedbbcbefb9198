"""Pieces of the training loop: learning rate, features of images and class texts, validation."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from sap.clip.backbone import Backbone
from sap.clip.precision import autocast
from sap.clip.prompts import prompt_features
from sap.train.examples import Examples
from sap.train.options import TrainOptions

VALIDATION_BATCH = 256


def learning_rate(step: int, steps: int, options: TrainOptions) -> float:
    """Learning rate of a step (from 0) of `steps`: linear warm-up to the peak, then the schedule down to 0."""
    warmup = round(options.warmup * steps)
    if step < warmup:
        return options.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    shape = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return options.learning_rate * shape[options.schedule]


def features_of(backbone: Backbone, pixels: torch.Tensor, precision: str) -> torch.Tensor:
    """Unit-norm image features (N,E) float32 of pixels (N,3,H,W)."""
    with autocast(pixels.device, precision, "train.precision"):
        features = backbone.image_features(pixels)
    return functional.normalize(features.float(), dim=-1)


def texts_of(backbone: Backbone, prompts: torch.Tensor, precision: str) -> torch.Tensor:
    """Text features (C,E) float32 of the class prompts' tokens (C,T,L), from the text tower as it is."""
    with autocast(prompts.device, precision, "train.precision"):
        return prompt_features(backbone, prompts)


def accuracy(backbone: Backbone, examples: Examples, texts: Callable[[], torch.Tensor], precision: str) -> float | None:
    """Share of examples that the text features (C,E) of `texts` classify correctly, 0-1; None where there are none."""
    if not len(examples):
        return None
    correct = 0
    with torch.no_grad():
        text_features = texts()
        for start in range(0, len(examples), VALIDATION_BATCH):
            which = np.arange(start, min(start + VALIDATION_BATCH, len(examples)))
            features = features_of(backbone, backbone.normalise(examples.images(which)), precision)
            logits = backbone.logit_scale * features @ text_features.T
            correct += int((logits.argmax(1).cpu().numpy() == examples.labels[which]).sum())
    return correct / len(examples)
