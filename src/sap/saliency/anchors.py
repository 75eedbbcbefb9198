"""The anchors as a loss of whole updates, for merge methods that search or fit: its value, gradient and logits.

    alignment   the loss of sap.saliency.gradients, `cosine` or `contrastive`, as the point says
    entropy     H = −mean_i Σ_j p_ij log p_ij,  p_i = softmax_j(exp(s) · cos(v_i, t_j)) over the N captions

v_i image feature of anchor i at the effective weights W0 + ΔW, t_j text feature of caption j (frozen), s the model's
own temperature. A method with a loss of its own states it on the image features, see `gradients_of`. Only public
anchors are read; nothing here knows a client.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sap.errors import SapError
from sap.factors import Factors, is_finite
from sap.saliency.gradients import anchor_loss, check_visual, effective_weights
from sap.setting import DEFAULTS
from sap.update import Update


class AnchorLoss:
    """Judges updates of one backbone on one set of anchors; the captions are encoded once.

    `backbone`: a sap.clip Backbone, its weights, `.grad` and requires_grad are as before after every call; `pixels`
    (N, 3, H, W) normalised; `tokens` (N, L); `alignment`: cosine | contrastive. `chunk_size`: images per pass, purely a
    matter of memory; up to that many anchors, a gradient costs one forward pass instead of two.
    Raises SapError for an update outside the visual tower, or so large that the anchors' loss is not finite.
    """

    def __init__(
        self,
        backbone: Any,
        pixels: Tensor,
        tokens: Tensor,
        alignment: str = DEFAULTS["alignment"],
        chunk_size: int = 32,
    ) -> None:
        like = next(backbone.model.parameters())
        self._backbone, self._alignment = backbone, alignment
        self._chunks = pixels.to(like).split(chunk_size)
        self._temperature = backbone.model.logit_scale.detach().exp()
        with torch.no_grad():
            self._texts = backbone.text_features(tokens.to(like.device))
        self._roots: dict[tuple[str, ...], dict[str, Tensor]] = {}

    def loss(self, update: Update) -> float:
        """Alignment loss of the anchors at W0 + ΔW."""
        loss = anchor_loss(self._images(update), self._texts, self._alignment, self._temperature).item()
        _check_finite(math.isfinite(loss))
        return loss

    def logits(self, update: Update) -> Tensor:
        """(N, N): exp(s) · cos(v_i, t_j) at W0 + ΔW, anchor images by captions, on the update's device."""
        return self.logits_of(self.features(update))

    def features(self, update: Update) -> Tensor:
        """(N, E): unit-norm image features of the anchors at W0 + ΔW, on the update's device."""
        features = self._images(update)
        _check_finite(is_finite(features))
        return features.to(update.device)

    def logits_of(self, features: Tensor) -> Tensor:
        """(N, N): exp(s) · cos(v_i, t_j) of image features (N, E), differentiable, on their device."""
        return self._temperature.to(features) * features @ self._texts.to(features).T

    def gradients(self, update: Update, objective: str = "alignment") -> tuple[float, dict[str, Tensor]]:
        """(loss, {layer: ∂loss/∂W (m, n)}) at W0 + ΔW, for the update's layers and on its device.

        `objective`: "alignment" or "entropy".
        """
        kind = self._alignment if objective == "alignment" else objective
        return self.gradients_of(update, lambda images: anchor_loss(images, self._texts, kind, self._temperature))

    def gradients_of(self, update: Update, objective: Callable[[Tensor], Tensor]) -> tuple[float, dict[str, Tensor]]:
        """As `gradients`, of a method's own loss: `objective` maps image features (N, E) to a scalar."""
        check_visual(update)
        together = len(self._chunks) == 1
        with torch.enable_grad(), effective_weights(self._backbone.model, update) as weights:
            with torch.set_grad_enabled(together):
                features = [self._backbone.image_features(chunk) for chunk in self._chunks]
            leaf = torch.cat(features).detach().requires_grad_()
            value = objective(leaf)
            loss, (pulls,) = value.item(), torch.autograd.grad(value, leaf)
            total: dict[str, Tensor] = {}
            for i, part in enumerate(pulls.split(len(self._chunks[0]))):
                image_features = features[i] if together else self._backbone.image_features(self._chunks[i])
                found = torch.autograd.grad(image_features, list(weights.values()), part)
                for layer, gradient in zip(weights, found, strict=True):
                    total[layer] = total[layer].add_(gradient) if layer in total else gradient
        _check_finite(math.isfinite(loss) and all(map(is_finite, total.values())))
        return loss, {layer: gradient.to(update.device) for layer, gradient in total.items()}

    def root(self, update: Update) -> dict[str, Tensor]:
        """{layer: (m, n)}: minus the gradient of the alignment loss at zero-shot, for the layers of an update.

        The server's own step, which FLTrust trusts. Computed once for the same layers.
        """
        layers = tuple(update)
        if layers not in self._roots:
            nothing = {}
            for layer in layers:
                m, n = update.shape(layer)
                nothing[layer] = Factors(torch.zeros(1, n), torch.zeros(m, 1))
            self._roots[layers] = {layer: -gradient for layer, gradient in self.gradients(Update(nothing))[1].items()}
        return {layer: step.to(update.device) for layer, step in self._roots[layers].items()}

    @torch.no_grad()
    def _images(self, update: Update) -> Tensor:
        """Image features of all anchors at W0 + ΔW, (N, E)."""
        check_visual(update)
        with update.applied(self._backbone.model):
            return torch.cat([self._backbone.image_features(chunk) for chunk in self._chunks])


def _check_finite(finite: bool) -> None:
    if not finite:
        raise SapError(
            "anchors: the loss or its gradient is not finite, the update is too large to be used. "
            "Lower its scale, or leave out the client whose update is far larger than the others'."
        )
