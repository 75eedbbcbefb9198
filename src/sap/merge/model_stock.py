"""Model Stock: shrink the mean by how much the clients agree.

    c   = mean over pairs j < k of cos(ΔW_j, ΔW_k)
    t   = K c / (1 + (K − 1) c)
    ΔW* = t · (1/K) Σ_k ΔW_k                                       (m, n), factors stay factors

Jang et al., ECCV 2024, arXiv:2403.19522. Orthogonal clients give zero-shot (t = 0), equal ones their mean (t = 1),
opposed ones a step backwards (t < 0). `unit: row` has its own t for each output. For K > 2 the published code is
silent: mergekit averages cosines, fusion-bench angles (`average: angles`, c = cos of the mean angle). t = 0 where
1 + (K − 1) c = 0. Departs from mergekit, which raises ‖ΔW_j‖‖ΔW_k‖ to at least 1e-6: here c does not depend on scale.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sap.config import option
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._inner_products import combine, cosines, inner_products
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    unit: str = option("layer", "what has a t of its own: the layer, or each output row", choices=("layer", "row"))
    average: str = option("cosines", "what is averaged over pairs of clients", choices=("cosines", "angles"))


@merge_method("model_stock", paper="arXiv:2403.19522", family="average", options=Options)
def model_stock(stack: Stack, options: Options) -> Entry:
    """Mean of the clients, shrunk by the cosine between them."""
    entries = list(stack.entries())
    n_clients = len(entries)
    c = _mean_cosine(cosines(inner_products(entries, options.unit)), options.average)
    below = 1 + (n_clients - 1) * c
    t = torch.where(below.abs() < 1e-6, 0.0, n_clients * c / below)
    return combine(entries, (t / n_clients)[:, None].expand(-1, n_clients), options.unit)


def _mean_cosine(cosine: Tensor, average: str) -> Tensor:
    """Mean over pairs of clients of (u, K, K), (u,)."""
    n_clients = cosine.shape[1]
    if n_clients == 1:  # nobody to differ from
        return cosine.new_ones(len(cosine))
    j, k = torch.triu_indices(n_clients, n_clients, offset=1)
    pairs = cosine[:, j, k]
    return pairs.acos().mean(1).cos() if average == "angles" else pairs.mean(1)
