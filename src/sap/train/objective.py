"""What a step of a local training minimises.

    L = CE(s · vᵀ t_c − margin · s · t_yᵀ t_c) + distillation + penalties

v (N,E) unit-norm image features, t (C,E) unit-norm class texts, s the logit scale, y the labels.

margin: CLIPood's margin metric softmax, Shu et al. 2023; thuml/CLIPood: engine.py (there 0.3, subtracted from the image
features as λ t_y). The true class loses the whole margin, others as much of it as their texts are like its own, so that
images are pushed less from like classes. Neither validation nor distillation sees it.
Distillation: sap.train.distill; penalties: sap.train.penalties. An option at 0 adds nothing, not even a zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sap.clip.backbone import Backbone
from sap.io import seed_of
from sap.train.distill import class_gap, random_texts, text_gap
from sap.train.loop import features_of
from sap.train.options import TrainOptions
from sap.train.penalties import orthogonality, overlap
from sap.train.scaling import scaled_update


@dataclass(frozen=True)
class Objective:
    """The loss of a batch. `texts` gives the class texts (C,E) as the client's model has them now, `frozen_texts` are
    those of the frozen one, which only the distillation of classes reads."""

    backbone: Backbone
    adapted: nn.Module
    options: TrainOptions
    texts: Callable[[], Tensor]
    frozen_texts: Tensor

    def __call__(self, pixels: Tensor, labels: Tensor, draw: int) -> Tensor:
        """The loss of model inputs (N,3,H,W) with their labels (N,), a scalar; random texts come from `draw`."""
        options, scale = self.options, self.backbone.logit_scale
        features, texts = features_of(self.backbone, pixels, options.precision), self.texts()
        logits = scale * features @ texts.T
        told = logits - options.margin * scale * (texts @ texts.T)[labels] if options.margin else logits
        loss = functional.cross_entropy(told, labels, label_smoothing=options.label_smoothing)
        if options.distill.kind != "none" and options.distill.weight:
            loss = loss + options.distill.weight * self._gap(pixels, features, logits, draw)
        if options.orthogonal:
            loss = loss + options.orthogonal * orthogonality(self.adapted)
        if options.pego:
            loss = loss + options.pego * overlap(self.adapted, options.lora.alpha / options.lora.rank)
        return loss

    def _gap(self, pixels: Tensor, features: Tensor, logits: Tensor, draw: int) -> Tensor:
        """How far the client's model is from the frozen one on this batch."""
        distill, scale = self.options.distill, self.backbone.logit_scale
        with torch.no_grad(), scaled_update(self.adapted, 0.0):
            frozen = features_of(self.backbone, pixels, self.options.precision)
            if distill.kind == "random_texts":
                generator = torch.Generator().manual_seed(seed_of("texts", draw))
                drawn = self.backbone.text_features(random_texts(self.backbone, distill.texts, generator)).float()
        if distill.kind == "random_texts":
            return text_gap(features, frozen, drawn, scale)
        return class_gap(logits, scale * frozen @ self.frozen_texts.T, distill.temperature)
