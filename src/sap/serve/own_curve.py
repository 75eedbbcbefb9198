"""λ from what clients say of their own updates: no client sees a merge, and there is no second round.

    λ*  = argmax_λ (1/K) Σ_k a_k(λ)                                λ in SCALES, the smaller of equals
    ΔW* = λ* ΔW                                                    ΔW the point's own merge, its `scale` included

a_k(λ) is the accuracy of client k's own update times λ on its own validation images in other styles
(sap.measure.curve); each client uploads these L numbers (`curve`) with its adapter. One update in the weights.

Departures: nobody published it as far as we know. What is best for a client's own update need not be best for the
merge: a mean of K updates that have little in common is about √K times shorter than each of them.
"""

import torch
from torch import Tensor

from sap.scales import SCALES
from sap.serve._api import Fold, Served, Settings, one, served
from sap.serve._uploads import refused, uploaded

ROUNDING = 1e-6  # of a mean of float32 accuracies; two that differ are further apart below 10^6 judged images


@served(
    "own_curve",
    "λ by own curves",
    reads=("merge",),
    needs={"curve"},
    checked="closed form: the same merge at the λ of curves whose best is known",
)
def own_curve(settings: Settings, fold: Fold) -> Served:
    """The merge at the λ that the clients' own updates, on their own images in other styles, are best at."""
    curves = [curve_of(fold, settings, client) for client in fold.clients]
    mean = torch.stack(curves).mean(0)
    scale = SCALES[int((mean >= mean.max() - ROUNDING).nonzero()[0])]
    return one(fold.merge(settings).scaled(scale), facts={"uploaded": len(SCALES), "scale": scale})


def curve_of(fold: Fold, settings: Settings, client: str) -> Tensor:
    """a_k (L,) float64, as client k uploaded it; SapError unless all are shares."""
    curve = uploaded(fold.statistics(settings, client), client, "curve/accuracy", (len(SCALES),))
    outside = curve[(curve < 0) | (curve > 1)]
    if len(outside):
        raise refused(client, f"curve/accuracy must lie in [0, 1], has {float(outside[0]):.4g}")
    return curve
