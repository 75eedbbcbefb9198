"""RegMean: the layer whose outputs are closest to every client's own outputs on that client's inputs.

    ΔW* = argmin_W Σ_k E‖(W − ΔW_k) x_k‖² = (Σ_k ΔW_k Ĝ_k)(Σ_k Ĝ_k)^-1     (m, n),  G_k = E[x_k x_kᵀ] (n, n)

with Ĝ_k = α G_k + (1 − α) diag(G_k) + ridge, see `sap.merge._grams`. α = 0 weighs each input by its mean square.
Jin et al., ICLR 2023, arXiv:2212.09849 (bloomberg/dataless-model-merging, fusion_bench `regmean`). On updates instead
of weights, which is the same: W0 cancels. Default α = 0.95 is fusion_bench's for CLIP (the authors: 0.1 for T5 and
RoBERTa). Every client counts the same (mean Grams per token). Clients that send equal Grams, such as Grams of one model
on the server's anchors, make this the plain mean: Grams must come from each client's own model.

Departures: a ridge, where the authors invert as it is; as factors one Cholesky factorisation serves all K r right-hand
sides A_k Ĝ_k, and the result is the stacked pair of rank Σ r_k.
"""

from dataclasses import dataclass

from sap.config import option
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._grams import regress
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    alpha: float = option(0.95, "factor of a Gram's off-diagonal entries", low=0, high=1)
    ridge: float = option(1e-6, "added to every Gram's diagonal, in units of the mean diagonal entry", low=0)


@merge_method(
    "regmean",
    paper="arXiv:2212.09849",
    family="statistics",
    options=Options,
    needs={"gram"},
    uploads=lambda options, m, n, r: n if options.alpha == 0 else n * n,
)
def regmean(stack: Stack, options: Options) -> Entry:
    """RegMean: least squares to every client's outputs on its own inputs, from Grams."""
    return regress(stack, options.alpha, options.ridge)
