"""VRF: image by image, the merge counts for more where clients have seen zero-shot fail and their own model succeed.

    p(y | x) = (1 − w(x)) softmax(z_0(x) / τ_0) + w(x) softmax(z(x) / τ),   w = σ(−(d − a) / b)
    d(x)²    = min_k (f − μ_k)ᵀ Σ_k^-1 (f − μ_k) / E                          Mahalanobis; near 1 inside the set

z_0, f are zero-shot's logits and feature, z the logits of the point's own merge. μ_k, Σ_k are mean and covariance of
client k's failure set: its images that zero-shot has wrong and its own model right. Each client uploads n, Σ f and
Σ f fᵀ of it (`failures`: 1 + E + E² numbers). A client with fewer than two failures has no say; without any, p is
zero-shot.
Zhu et al., NeurIPS 2024, arXiv:2410.03862 (BeierZhu/VRF `src/main.py`, `src/knn_distance.py`): fusion, a and b.

Departures: a Gaussian for each client, the nearest counts, where the authors keep all failures and take the distance to
the k-th nearest; nobody published this form as far as we know, so a = 1.5 and b = 0.6 are theirs for another distance.
Frozen features, where they take the fine-tuned ones: clients and server share no other space. Σ_k is half its own
trace spread evenly, since a failure set has fewer images than features have entries. τ are options, where they fit
them to the accuracy on labelled images.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sap.config import option
from sap.serve._api import Fold, Judge, Served, Settings, options_of, served, size_of
from sap.serve._sums import Sums, numbers_sent, sums_of

SHRINKAGE = 0.5  # share of a covariance that is spread evenly over all directions


@dataclass(frozen=True)
class Options:
    a: float = option(1.5, "distance at which both models count alike")
    b: float = option(0.6, "how gently the weight falls with the distance", above=0)
    temperature_zero_shot: float = option(1.0, "τ_0, beside the model's own temperature", above=0)
    temperature_merge: float = option(1.0, "τ, beside the model's own temperature", above=0)


@served(
    "vrf",
    "VRF",
    reads=("merge",),
    options=Options,
    needs={"failures"},
    checked="the fusion of the authors' main, and the distance computed from the features themselves",
)
def vrf(settings: Settings, fold: Fold) -> Served:
    """Zero-shot and the merge, mixed by each image's distance to the clients' sets of zero-shot failures."""
    options, update = options_of(settings), fold.merge(settings)
    uploads = {client: fold.statistics(settings, client) for client in fold.clients}
    sent = numbers_sent(uploads[fold.clients[0]], "failures")

    def predict(judge: Judge, images: Any) -> np.ndarray:
        texts = judge.features.cpu()
        sums = [sums_of(found, client, "failures", 1, texts.shape[1]) for client, found in uploads.items()]
        frozen = torch.from_numpy(judge.image_features(images, None))
        zero_shot = (judge.logit_scale * frozen @ texts.T / options.temperature_zero_shot).softmax(1)
        merged = (torch.from_numpy(judge.logits(images, update)) / options.temperature_merge).softmax(1)
        weight = (-(distance(frozen.double(), sums) - options.a) / options.b).sigmoid()[:, None].to(merged)
        return np.asarray(((1 - weight) * zero_shot + weight * merged).numpy())

    return Served(predict, 2, size_of(update) + len(uploads) * sent, facts={"uploaded": sent})


def distance(features: Tensor, sums: list[Sums]) -> Tensor:
    """d of the module docstring for features (n, E), (n,); infinite where no client has two failures."""
    found = [torch.full((len(features),), torch.inf, dtype=features.dtype)]
    width = features.shape[1]
    for each in sums:
        n_images, spread = float(each.counts), float(each.scatter().trace())
        if n_images < 2 or not spread > 0:
            continue
        covariance = (1 - SHRINKAGE) * each.scatter() + SHRINKAGE * spread / width * torch.eye(width).to(each.outer)
        apart = features - each.totals[0] / n_images
        squares = (apart * torch.linalg.solve(covariance / (n_images - 1), apart.T).T).sum(1) / width
        found.append(squares.clamp(min=0).sqrt())
    return torch.stack(found).amin(0)
