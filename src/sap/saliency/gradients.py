"""Gradient of the anchors' alignment loss at one client's effective weights W0 + ΔW.

    cosine        L = mean_i (1 − cos(v_i, t_i))
    contrastive   L = symmetric InfoNCE over the n pairs, with the model's own temperature

v_i image feature of anchor i (unit norm), t_i text feature of its caption (frozen). The gradient with respect to
the effective weight of a layer is the gradient with respect to ΔW, (m, n).

The gradient of anchor i is the part that flows through its image, times n:

    g_i = n · (∂v_i/∂W)ᵀ ∂L/∂v_i,      so that mean_i g_i = ∂L/∂W exactly.

For `cosine` this is the gradient of the anchor's own term 1 − cos(v_i, t_i). For `contrastive` it is the gradient
of n·L with the other anchors' image features held fixed (n backward passes, not n²).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sap.errors import SapError
from sap.factors import Factors, is_finite
from sap.update import Update


def alignment_gradients(
    backbone: Any,
    update: Update,
    pixels: Tensor,
    tokens: Tensor,
    alignment: str,
    reduction: str,
    sizes: Sequence[int],
    chunk_size: int = 16,
    where: str = "update",
) -> tuple[dict[str, Tensor], dict[int, float]]:
    """Gradients for nested anchor sets, and the loss of each set.

    `backbone`: a sap.clip Backbone; its weights, `.grad` and requires_grad are as before afterwards. `pixels`
    (N, 3, H, W) normalised, `tokens` (N, L); the set of size n is the first n. `alignment`: cosine | contrastive;
    `reduction`: "absolute_of_mean" gives mean_i g_i, "mean_of_absolute" gives mean_i |g_i|. `chunk_size`: images per
    backward pass, purely a matter of memory.

    Returns {"{size}/{layer}": (m, n)} on the CPU, for mean_of_absolute and factors also "{size}/{layer}/A" =
    mean_i |Bᵀ g_i| (r, n) and "{size}/{layer}/B" = mean_i |g_i Aᵀ| (m, r), and {size: loss}.
    Raises SapError for sizes that the anchors do not have, for updates outside the visual tower, and, naming `where`,
    for an update so large that a loss or a gradient is not finite.
    """
    _check(update, len(pixels), alignment, sizes)
    found: dict[str, Tensor] = {}
    losses: dict[int, float] = {}
    with torch.enable_grad(), effective_weights(backbone.model, update) as weights:
        pixels = pixels[: max(sizes)].to(next(iter(weights.values())))
        with torch.no_grad():
            texts = backbone.text_features(tokens[: max(sizes)].to(pixels.device))
            chunks = pixels.split(chunk_size)
            images = torch.cat([backbone.image_features(chunk) for chunk in chunks])
            temperature = backbone.model.logit_scale.exp()
        done = 0
        sums: dict[str, Tensor] = {}
        for size in sorted(set(sizes)):
            if alignment == "contrastive":  # every pair's pull depends on the whole set
                done, sums = 0, {}
            losses[size], pulls = pull(images[:size], texts[:size], alignment, temperature)
            step = 1 if reduction == "mean_of_absolute" else chunk_size
            for start in range(done, size, step):
                stop = min(start + step, size)
                features = backbone.image_features(pixels[start:stop])
                gradients = torch.autograd.grad(features, list(weights.values()), pulls[start:stop])
                _accumulate(sums, dict(zip(weights, gradients, strict=True)), update, reduction)
            done = size
            found |= {f"{size}/{name}": (total / size).cpu() for name, total in sums.items()}
    if not all(map(math.isfinite, losses.values())) or not all(map(is_finite, found.values())):
        raise SapError(
            f"{where}: the anchors' loss or its gradient is not finite, the update is too large to be used. "
            "Leave this client out or train it again."
        )
    return found, losses


def pull(images: Tensor, texts: Tensor, objective: str, temperature: Tensor) -> tuple[float, Tensor]:
    """(L, n · ∂L/∂v_i) of n pairs; features (n, E), result (n, E)."""
    leaf = images.detach().requires_grad_()
    loss = anchor_loss(leaf, texts, objective, temperature)
    return loss.item(), len(leaf) * torch.autograd.grad(loss, leaf)[0]


def anchor_loss(images: Tensor, texts: Tensor, objective: str, temperature: Tensor) -> Tensor:
    """L of n pairs of features (n, E), a scalar; `objective`: an alignment, or `entropy`.

    `entropy`: mean Shannon entropy, in nats, of each image's softmax over the n captions.
    """
    if objective == "cosine":
        return (1 - (images * texts).sum(1)).mean()
    logits = temperature * images @ texts.T
    if objective == "entropy":
        logs = logits.log_softmax(1)
        return -(logs.exp() * logs).sum(1).mean()
    pairs = torch.arange(len(images), device=images.device)
    return (cross_entropy(logits, pairs) + cross_entropy(logits.T, pairs)) / 2


def _accumulate(sums: dict[str, Tensor], gradients: dict[str, Tensor], update: Update, reduction: str) -> None:
    """Add the gradients of a chunk to the running sums; their absolute values where the chunk is one anchor."""
    absolute = reduction == "mean_of_absolute"
    for layer, gradient in gradients.items():
        parts = {layer: gradient}
        entry = update[layer]
        if absolute and isinstance(entry, Factors):
            A, B = entry.A.to(gradient), entry.B.to(gradient)
            parts |= {f"{layer}/A": B.T @ gradient, f"{layer}/B": gradient @ A.T}
        for name, part in parts.items():
            part = part.abs() if absolute else part
            sums[name] = sums[name].add_(part) if name in sums else part.clone()


@contextmanager
def effective_weights(model: nn.Module, update: Update) -> Iterator[dict[str, nn.Parameter]]:
    """The adapted weights at W0 + ΔW, asking for gradients; everything is as before afterwards."""
    with update.applied(model), differentiable(model, update) as weights:
        yield weights


@contextmanager
def differentiable(model: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, nn.Parameter]]:
    """The weights of these layers by name, asking for gradients; their flags are as before afterwards."""
    weights = {layer: model.get_parameter(layer) for layer in layers}
    flags = {layer: weight.requires_grad for layer, weight in weights.items()}
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        yield weights
    finally:
        for layer, weight in weights.items():
            weight.requires_grad_(flags[layer])


def _check(update: Update, n_anchors: int, alignment: str, sizes: Sequence[int]) -> None:
    smallest = 2 if alignment == "contrastive" else 1
    if not sizes or min(sizes) < smallest or max(sizes) > n_anchors:
        raise SapError(
            f"anchor sizes must lie between {smallest} and the {n_anchors} anchors drawn, got {list(sizes)}. "
            "Change anchors.sizes."
        )
    check_visual(update)


def check_visual(update: Update) -> None:
    """SapError for a layer outside the visual tower: the captions' features would no longer be those of the model."""
    for layer in update:
        if not layer.startswith("visual."):
            raise SapError(
                f"layer {layer}: anchor gradients exist for the visual tower only. Train visual layers only."
            )
