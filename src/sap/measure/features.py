"""Sums of one client's image features, from which the server makes heads; sums of several clients simply add up.

    moments    n_c = |{i : y_i = c}|,  s_c = Σ_{i: y_i = c} x_i,  Q = Σ_i x_i x_iᵀ          (C,), (C, E), (E, E)
    failures   the same of {i : zero-shot wrong, the client's own model right}, as one class  (1,), (1, E), (E, E)

x_i (E,) is the unit-norm feature of image i under the frozen model, which all clients and the server share; y_i the
label that the client trains on. No feature of a single image leaves the client, but of a class with one image its sum
is that feature.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sap.update import Update

KINDS = ("moments", "failures")


@torch.no_grad()
def feature_sums(
    backbone: Any,
    update: Update,
    pixels: Tensor,
    labels: Tensor,
    text_features: Tensor,
    kind: str,
    batch_size: int = 32,
) -> dict[str, Tensor]:
    """{"{kind}/count": (C,), "{kind}/sum": (C, E), "{kind}/outer": (E, E)} float32 on the CPU; C is 1 for failures.

    `backbone`: a sap.clip Backbone, left as it was; `pixels` (N, 3, H, W) normalised; `labels` (N,);
    `text_features` (C, E) of the classes; `kind`: of KINDS.
    """
    batches = pixels.split(batch_size)
    features = torch.cat([backbone.image_features(batch) for batch in batches])
    members = one_hot(labels.to(features.device), len(text_features)).to(features)
    if kind == "failures":
        with update.applied(backbone.model):
            own = torch.cat([backbone.image_features(batch) for batch in batches])
        texts, truth = text_features.to(features), labels.to(features.device)
        failed = ((features @ texts.T).argmax(1) != truth) & ((own @ texts.T).argmax(1) == truth)
        members = failed[:, None].to(features)
    features, members = features.double(), members.double()
    weighed = features * members.sum(1, keepdim=True)
    found = {"count": members.sum(0), "sum": members.T @ features, "outer": weighed.T @ features}
    return {f"{kind}/{name}": tensor.float().cpu() for name, tensor in found.items()}
