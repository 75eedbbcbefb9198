"""Contrastive pretraining of a tiny CLIP from random weights: the backbone of the embedded default experiment."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import open_clip
import torch
from torch import nn
from torch.nn import functional

from sap.clip.checkpoint import Model, build_model
from sap.clip.options import ScratchOptions
from sap.errors import SapError
from sap.io import seed_of
from sap.progress import bar

CONTEXT_LENGTH = 16  # the longest caption of the corpus has 11 tokens
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
LARGEST_LOGIT_SCALE = math.log(100)  # as in CLIP
LOG_EVERY = 50  # steps


def scratch_config(options: ScratchOptions, size: int) -> dict[str, Any]:
    """open_clip model config for square images of `size` pixels."""
    return {
        "embed_dim": options.embed_dim,
        "vision_cfg": {
            "image_size": size,
            "layers": options.layers,
            "width": options.width,
            "head_width": options.head_width,
            "patch_size": options.patch_size,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": 49408,  # of CLIP's own tokenizer
            "width": options.width,
            "heads": max(1, options.width // options.head_width),
            "layers": options.text_layers,
        },
    }


def scratch_preprocess(size: int) -> dict[str, Any]:
    """open_clip preprocessing config of a scratch backbone."""
    return {
        "size": size,
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }


def pretrain(
    images: np.ndarray, captions: Sequence[str], labels: np.ndarray, options: ScratchOptions, device: str = "cpu"
) -> tuple[Model, list[dict[str, float]]]:
    """Train on image-caption pairs: images (N,H,H,3) uint8, N captions; returns the model and log rows.

    `labels` (N,) int64 serve `options.caption_noise` only; the loss never sees them.

    Symmetric InfoNCE, except that pairs with the same caption are positives of each other: a batch holds each caption
    several times, and calling its copies negatives would push equal things apart. Rows and columns of the target are
    uniform over the positives. AdamW, linear warm-up, cosine decay to 0, logit scale at most 100.

    A log row is {"step", "loss", "learning_rate", "logit_scale"}, every 50 steps. Repeatable for a fixed number of
    threads; the weights come from `options.seed` alone. Raises SapError for a patch larger than the image and a loss
    that is not finite.
    """
    if options.patch_size > images.shape[1]:
        raise SapError(
            f"backbone.scratch.patch_size must be at most the image side {images.shape[1]}, was {options.patch_size}. "
            "Lower it or raise data.digits.size."
        )
    noisy = noisy_captions(captions, labels, options.caption_noise, options.seed)
    unique, caption_of = np.unique(noisy, return_inverse=True)
    tokens = open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)(unique.tolist()).to(device)
    used = tokens.unique()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("scratch", options.seed))
        model = build_model(scratch_config(options, images.shape[1]), "backbone.scratch").to(device).train()
    # Of 49,408 words the captions use some thirty: train those rows only, or AdamW spends its time on the others. The
    # order of the tokens stays, so the end token is still the largest, where the text tower reads its feature.
    vocabulary, tokens = model.token_embedding, torch.searchsorted(used, tokens)
    model.token_embedding = nn.Embedding.from_pretrained(vocabulary.weight.detach()[used], freeze=False)
    pixels = torch.from_numpy(images).to(device)
    mean, std = (torch.tensor(value, device=device) * 255 for value in (MEAN, STD))
    caption_ids = torch.from_numpy(caption_of).to(device)
    optimizer = torch.optim.AdamW(
        _groups(model, options.weight_decay), lr=options.learning_rate, betas=(0.9, 0.98), fused=True
    )
    generator = torch.Generator().manual_seed(seed_of("scratch-order", options.seed))
    order = torch.empty(0, dtype=torch.int64)
    log, total = [], 0.0
    progress = bar(range(1, options.steps + 1), desc="pretrain", unit="step", disable=None)
    for step in progress:
        if len(order) < options.batch_size:
            order = torch.cat([order, torch.randperm(len(images), generator=generator)])
        rows, order = order[: options.batch_size].to(device), order[options.batch_size :]
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * _schedule(step, options)
        batch = ((pixels[rows].float() - mean) / std).permute(0, 3, 1, 2)
        present, column_of = caption_ids[rows].unique(return_inverse=True)
        image_features = model.encode_image(batch, normalize=True)
        text_features = model.encode_text(tokens[present], normalize=True)
        loss = contrastive_loss(image_features, text_features, column_of, model.logit_scale.exp())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)
        total += loss.item()
        if step % LOG_EVERY == 0 or step == options.steps:
            count = (step - 1) % LOG_EVERY + 1
            if not math.isfinite(total):
                raise SapError(
                    f"backbone.scratch: the loss became {total} by step {step}. "
                    f"Lower backbone.scratch.learning_rate (now {options.learning_rate})."
                )
            row = {"step": step, "loss": total / count, "learning_rate": optimizer.param_groups[0]["lr"]}
            log.append(row | {"logit_scale": model.logit_scale.exp().item()})
            progress.set_postfix(loss=f"{total / count:.3f}")
            total = 0.0
    vocabulary.weight.data[used] = model.token_embedding.weight.data
    model.token_embedding = vocabulary
    return model.eval().requires_grad_(False), log


def contrastive_loss(
    image_features: torch.Tensor, text_features: torch.Tensor, column_of: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Symmetric InfoNCE of N images (N,E) with U distinct captions (U,E); image i has caption `column_of[i]`.

    Equal, without computing copies, to the loss on all N × N pairs where every copy of a caption is a positive: as a
    negative a caption counts as often as it occurs (+ log count), as a row too (the mean over images).
    """
    logits = scale * image_features @ text_features.T  # (N,U)
    counts = torch.bincount(column_of, minlength=len(text_features))
    image_to_text = functional.cross_entropy(logits + counts.log(), column_of) + counts.log()[column_of].mean()
    text_to_image = -functional.log_softmax(logits, dim=0).gather(1, column_of[:, None]).mean()
    return (image_to_text + text_to_image) / 2


def noisy_captions(captions: Sequence[str], labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A copy in which `share` of the captions come from a random pair of another class; (N,) array of texts."""
    noisy = np.asarray(captions)
    rng = np.random.default_rng(seed_of("scratch-noise", seed))
    for row in rng.permutation(len(noisy))[: round(share * len(noisy))]:
        noisy[row] = captions[rng.choice(np.flatnonzero(labels != labels[row]))]
    return noisy


def _schedule(step: int, options: ScratchOptions) -> float:
    """Share of the peak learning rate at a step (from 1): linear warm-up, then cosine to 0 after the last step."""
    if step <= options.warmup:
        return step / options.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - options.warmup) / (options.steps - options.warmup + 1)))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """As in CLIP: gains, biases and the logit scale are not decayed."""
    parameters = list(model.parameters())
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
