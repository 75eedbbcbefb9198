"""CLIP-GDA: zero-shot, and beside it a linear classifier in closed form, from sums of the clients' features.

    μ_c = s_c / n_c (E,),  Σ = S / (N − 1),  S = Q − Σ_c n_c μ_c μ_cᵀ (E, E)         one Gaussian per class, shared Σ
    P   = E ((N − 1) Σ + tr(Σ) I)^-1                                                  a shrunk Σ^-1
    W   = P [μ_1 … μ_C] (E, C),   b_c = −log C − ½ μ_cᵀ P μ_c                          equal priors
    z   = exp(s) f Tᵀ + α (f W + b)                                                    f frozen features, T class texts

Each client uploads n_c, s_c = Σ x and Q = Σ x xᵀ of its images' frozen features (`moments`: C + C E + E² numbers, no
adapter). They add up, so this is the head of all sources' images in one place, exactly. α is fixed, 1 by default: the
authors choose it between 1e-4 and 100 on validation images.
Wang et al., ICLR 2024, arXiv:2402.04087 (mrflogs/ICLR24 `main_robustness.py`).

Departures: the model's own temperature, where they write 100; a class that no client has gets the mean of all images,
so its head says nothing about it; a client measures at most statistics.images of its images, as they are, where they
take 16 of each class under augmentation.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sap.config import option
from sap.errors import SapError
from sap.serve._api import Fold, Judge, Served, Settings, options_of, served
from sap.serve._sums import Sums, added, numbers_sent, sums_of


@dataclass(frozen=True)
class Options:
    alpha: float = option(1.0, "α, weight of the head beside zero-shot; 0 is zero-shot", low=0)


@served(
    "gda",
    "CLIP-GDA head",
    options=Options,
    needs={"moments"},
    checked="the authors' run on the same features",
)
def gda(settings: Settings, fold: Fold) -> Served:
    """Zero-shot plus a Gaussian discriminant head, in closed form from sums of the clients' frozen features."""
    alpha = options_of(settings).alpha
    uploads = {client: fold.statistics(settings, client) for client in fold.clients}
    sent = numbers_sent(uploads[fold.clients[0]], "moments")

    def predict(judge: Judge, images: Any) -> np.ndarray:
        texts = judge.features.cpu()
        sums = [sums_of(found, client, "moments", *texts.shape) for client, found in uploads.items()]
        weight, bias = head(added(sums))
        features = torch.from_numpy(judge.image_features(images, None))
        logits = judge.logit_scale * features @ texts.T + alpha * (features.double() @ weight + bias)
        return np.asarray(logits.float().softmax(1).numpy())

    total = uploads[fold.clients[0]].get("moments/sum")  # its shape is checked against the model's when it is read
    return Served(predict, parameters=0 if total is None else total.numel() + len(total), facts={"uploaded": sent})


def head(sums: Sums) -> tuple[Tensor, Tensor]:
    """(W (E, C), b (C,)) float64 of the module docstring."""
    scatter, n_images = sums.scatter(), float(sums.counts.sum())
    total = float(scatter.trace())
    if not total > 0:
        raise SapError(
            "serve.gda: the clients' images of a class are all alike, or there are none, so there is no spread to "
            "measure. Raise statistics.images, or serve zero-shot."
        )
    width = len(scatter)
    shrunk = scatter + total / max(n_images - 1, 1) * torch.eye(width, dtype=scatter.dtype)
    grand = sums.totals.sum(0) / n_images
    means = torch.where(sums.counts[:, None] > 0, sums.totals / sums.counts.clamp(min=1)[:, None], grand)
    weight = width * torch.linalg.solve(shrunk, means.T)
    bias = -math.log(len(means)) - (means.T * weight).sum(0) / 2
    return weight, bias
