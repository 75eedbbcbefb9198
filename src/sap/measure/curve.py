"""How accurate a client's own update is at each λ, on images of its own in styles that it did not train on.

    a(λ) = (1/(D N)) Σ_d Σ_i [argmax_c cos(f(x_id; W0 + λ ΔW), t_c) = y_i]          λ in SCALES: (L,)

x_id is image i in its d-th style (sap.measure.style), the same at every λ. The client measures its validation images:
on those that it trained on, accuracy rises with λ because they were learned by heart, whatever λ does to others. A
client without validation images takes its training images all the same, and its curve flatters a large λ.
L numbers leave the client, and none of them is about a single image.

Departures: nobody published it as far as we know.
"""

from typing import Any

import torch
from torch import Tensor

from sap.errors import SapError
from sap.io import seed_of
from sap.measure.style import restyled
from sap.scales import SCALES
from sap.update import Update

CURVE = "curve"
DRAWS = 4  # styles of each image


@torch.no_grad()
def accuracy_curve(
    backbone: Any,
    update: Update,
    where: str,
    seed: int,
    images: Tensor,
    labels: Tensor,
    text_features: Tensor,
    batch_size: int = 32,
) -> dict[str, Tensor]:
    """{"curve/accuracy": (L,)} float32 on the CPU.

    `backbone`: a sap.clip Backbone, left as it was; `where` the update is from, for errors; `seed`: of the styles;
    `images` (N, H, W, 3) uint8; `labels` (N,); `text_features` (C, E) of the classes. SapError where features are not
    finite.
    """
    rng = torch.Generator().manual_seed(seed_of("style", seed))
    texts, truth = text_features.to(backbone.device), labels.to(backbone.device)
    right = torch.zeros(len(SCALES), dtype=torch.float64)
    for _ in range(DRAWS):
        batches = backbone.normalise(restyled(images, rng)).split(batch_size)
        for place, scale in enumerate(SCALES):
            with update.scaled(scale).applied(backbone.model):
                features = torch.cat([backbone.image_features(batch) for batch in batches])
            if not features.isfinite().all():
                raise SapError(
                    f"{where}: features at λ = {scale:g} are not finite, the update is too large to be used. "
                    "Leave this client out or train it again."
                )
            right[place] += int(((features @ texts.T).argmax(1) == truth).sum())
    return {f"{CURVE}/accuracy": (right / (DRAWS * len(images))).float()}
