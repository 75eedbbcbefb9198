"""What passes through a client's model when it is measured: (pixels or images, text features, logit scale)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sap.clip.backbone import Backbone
from sap.io import load_tensors, seed_of
from sap.plans import SharePlan
from sap.train.examples import Examples, open_examples

Inputs = tuple[Tensor, Tensor, float]


def client_inputs(
    backbone: Backbone, share: SharePlan, classes: str | Path, seed: int, images: int
) -> tuple[Inputs, Tensor]:
    """At most `images` of the client's own training images, drawn from its name and seed, and the class texts.

    Pixels (N, 3, H, W) normalised, text features (C, E) unit-norm; and the labels (N,) that the client trains on.
    """
    found, labels = _drawn(open_examples(share).train, share, seed, images)
    return (backbone.normalise(found), *_texts(backbone, classes)), labels


def held_inputs(
    backbone: Backbone, share: SharePlan, classes: str | Path, seed: int, images: int
) -> tuple[Inputs, Tensor]:
    """As `client_inputs`, of the client's validation images; of its training images where it has none.

    Images as they were decoded, (N, H, W, 3) uint8 on the CPU.
    """
    holding = open_examples(share)
    found, labels = _drawn(holding.val if len(holding.val) else holding.train, share, seed, images)
    return (torch.from_numpy(found), *_texts(backbone, classes)), labels


def anchor_inputs(backbone: Backbone, folder: str | Path, images: int) -> Inputs:
    """The first anchors, at most `images`, with their captions in the place of classes."""
    anchors = load_tensors(Path(folder) / "anchors.safetensors")
    texts = backbone.text_features(anchors["tokens"][:images].to(backbone.device))
    return backbone.normalise(anchors["images"][:images]), texts, float(backbone.logit_scale)


def _drawn(held: Examples, share: SharePlan, seed: int, images: int) -> tuple[np.ndarray, Tensor]:
    rng = np.random.default_rng(seed_of("measure", share.trainee, seed))
    chosen = np.sort(rng.permutation(len(held))[:images])
    return held.images(chosen), torch.from_numpy(held.labels[chosen])


def _texts(backbone: Backbone, classes: str | Path) -> tuple[Tensor, float]:
    found = load_tensors(Path(classes) / "text_features.safetensors")
    return found["features"].to(backbone.device), float(found["logit_scale"])
