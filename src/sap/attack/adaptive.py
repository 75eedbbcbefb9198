"""An attacker who knows the defence and its public anchors, and is kept by pruning and trusted by FLTrust all the same.

    U = −s · ΔW_own                                                          what does harm, s = 1
    T ← U;  repeat: g = ∂L/∂W at W0 + T,  M = top share `keep` of |U ⊙ g|,  T ← M ⊙ U · ‖U‖/‖M ⊙ U‖    layer by layer
    ΔW = (T + β · M ⊙ r) · ‖T‖/‖T + β · M ⊙ r‖                                                        whole model

L is the anchor loss and r = −∂L/∂W at zero-shot, the root update of anchor-FLTrust. SAP drops the lowest ρ of
|ΔW ⊙ g|, where all that is zero comes first: while keep ≤ 1 − ρ it drops nothing of this update. β is the smallest
number ≥ 0 with

    cos(ΔW, r) ≥ c,    c = least positive cos(x_i, r) of an honest client x_i, 0 where there is none

so FLTrust trusts the attacker as much as an honest client that it trusts at all. Where the entries of M hold too
little of r to reach c (‖M ⊙ r‖ ≤ c·‖r‖), all entries of r are added. The mask is drawn against the score |w·g|, with
no thought of a signed one.

Adaptive attacks as a duty: Tramèr et al., NeurIPS 2020, arXiv:2002.08347; this one is made for this defence.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sap.attack._api import Extras, attack
from sap.attack._honest import products
from sap.config import option
from sap.selection import find_cut, floor_share, kept
from sap.update import Update

PARALLEL = 1 - 1e-6  # a cosine of one asks for an endless multiple of the root


@dataclass(frozen=True)
class Options:
    strength: float = option(1.0, "s: the attacker's own update, times minus this, before it is hidden", above=0)
    keep: float = option(
        0.1, "share of each layer's entries that carry the update; 1 - prune_ratio or less survives", above=0, high=1
    )
    iterations: int = option(3, "how often the mask is drawn at the gradient of what it left", low=1)


@attack("adaptive", citation="arXiv:2002.08347", options=Options, needs={"honest", "gradient", "root"})
def adaptive(own: Update, honest: Mapping[str, Update], options: Options, extras: Extras) -> Update:
    """The negated update on entries of high saliency, tilted until the anchors trust it."""
    harm = own.scaled(-options.strength)
    sent = harm
    for _ in range(options.iterations):
        gradients = extras.gradient(sent)
        masks = {layer: _top((harm.dense(layer) * gradients[layer]).abs(), options.keep) for layer in harm}
        sent = _at_norms(_masked(harm, masks), harm.norms())
    root = Update(extras.root())
    length = root.norm()
    return _tilted(sent, root.scaled(1 / length), masks, honest) if length else sent


def _tilted(sent: Update, root: Update, masks: Mapping[str, Tensor], honest: Mapping[str, Update]) -> Update:
    """`sent` with the smallest multiple of the masked root (of norm one before) that makes it trusted, at its norm."""
    cosines = [
        product / update.norm()
        for product, update in zip(products(honest, root).tolist(), honest.values(), strict=True)
        if product > 0
    ]
    wanted = min(cosines, default=0.0)
    tilt = _masked(root, masks)
    if tilt.norm() <= wanted:
        tilt = root
    share = tilt.norm()
    if not share:
        return sent
    tilt, wanted = tilt.scaled(1 / share), min(wanted / share, PARALLEL)
    length, along = sent.norm(), sent.inner(tilt)
    across = math.sqrt(max(length**2 - along**2, 0.0))
    beta = max(wanted / math.sqrt(1 - wanted**2) * across - along, 0.0)
    tilted = sent + tilt.scaled(beta)
    return tilted.scaled(length / (tilted.norm() or 1.0))


def _top(score: Tensor, share: float) -> Tensor:
    """Boolean mask (m, n) of the largest scores, one at least."""
    return kept(score, find_cut([score], score.numel() - max(floor_share(share, score.numel()), 1)))


def _masked(update: Update, masks: Mapping[str, Tensor]) -> Update:
    return Update({layer: update.dense(layer) * masks[layer] for layer in update})


def _at_norms(update: Update, norms: Mapping[str, float]) -> Update:
    """Every layer scaled to the given Frobenius norm; a layer without direction stays zero."""
    return update.scaled({layer: norms[layer] / norm if norm else 1.0 for layer, norm in update.norms().items()})
