"""What passes through a client's model when it is measured: (pixels, text features, logit scale)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sap.clip.backbone import Backbone
from sap.io import load_tensors, seed_of
from sap.plans import SharePlan
from sap.train.examples import open_examples

Inputs = tuple[Tensor, Tensor, float]


def client_inputs(
    backbone: Backbone, share: SharePlan, classes: str | Path, seed: int, images: int
) -> tuple[Inputs, Tensor]:
    """At most `images` of the client's own training images, drawn from its name and seed, and the class texts.

    Pixels (N, 3, H, W) normalised, text features (C, E) unit-norm; and the labels (N,) that the client trains on.
    """
    held = open_examples(share).train
    rng = np.random.default_rng(seed_of("measure", share.trainee, seed))
    chosen = np.sort(rng.permutation(len(held))[:images])
    texts = load_tensors(Path(classes) / "text_features.safetensors")
    pixels = backbone.normalise(held.images(chosen))
    inputs = pixels, texts["features"].to(backbone.device), float(texts["logit_scale"])
    return inputs, torch.from_numpy(held.labels[chosen])


def anchor_inputs(backbone: Backbone, folder: str | Path, images: int) -> Inputs:
    """The first anchors, at most `images`, with their captions in the place of classes."""
    anchors = load_tensors(Path(folder) / "anchors.safetensors")
    texts = backbone.text_features(anchors["tokens"][:images].to(backbone.device))
    return backbone.normalise(anchors["images"][:images]), texts, float(backbone.logit_scale)
