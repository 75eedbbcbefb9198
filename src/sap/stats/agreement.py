"""How far clients agree, layer by layer, and where the saliency of a client lies.

Updates come in as `sap.update.Update` objects and gradients as tensors; this file uses their methods only, so it
stays importable without torch.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from scipy.linalg import subspace_angles

from sap.io import seed_of

CHANCE_PAIRS = 200  # random subspaces behind a chance angle; its standard error is 0.3 degrees for planes in R^32


def client_agreement(updates: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows layer, client_a, client_b, cosine, sign_conflict, weighted_conflict, angle for every pair of clients.

    cosine: <ΔW_a, ΔW_b> / (‖ΔW_a‖ ‖ΔW_b‖), by r × r algebra, NaN where an update is zero.
    sign_conflict: share of the layer's m·n entries where both are non-zero and their signs differ, in [0, 1].
    weighted_conflict: the same with weights |a·b|: Σ_{a·b<0} |a·b| / Σ |a·b|, NaN where that is 0/0.
    angle: mean principal angle between the column spaces (in the layer's output) of ΔW_a and ΔW_b, in degrees from 0
    (equal) to 90 (orthogonal), over as many as the smaller rank has; NaN where an update is zero.
    """
    pairs = list(combinations(updates, 2))
    norms = {client: update.norms() for client, update in updates.items()}
    cosines = {}
    for a, b in pairs:
        for layer, inner in updates[a].inners(updates[b]).items():
            norm = norms[a][layer] * norms[b][layer]
            cosines[a, b, layer] = inner / norm if norm else np.nan
    for layer in next(iter(updates.values())):
        signs, weighted = _conflicts(np.stack([u.dense(layer).flatten().cpu().numpy() for u in updates.values()]))
        index = {client: position for position, client in enumerate(updates)}
        spaces = {client: _column_space(update[layer]) for client, update in updates.items()}
        for a, b in pairs:
            yield {
                "layer": layer,
                "client_a": a,
                "client_b": b,
                "cosine": float(cosines[a, b, layer]),
                "sign_conflict": float(signs[index[a], index[b]]),
                "weighted_conflict": float(weighted[index[a], index[b]]),
                "angle": _mean_angle(spaces[a], spaces[b]),
            }


@lru_cache
def chance_angle(size: int, rank_a: int, rank_b: int, seed: int) -> float:
    """What `angle` is on average, in degrees, for two uniformly random subspaces of R^size of these dimensions."""
    ranks = sorted((rank_a, rank_b))
    rng = np.random.default_rng(seed_of("chance-angle", size, *ranks, seed))
    angles = [_mean_angle(*(rng.normal(size=(size, rank)) for rank in ranks)) for _ in range(CHANCE_PAIRS)]
    return float(np.mean(angles))


def _column_space(entry: Any) -> np.ndarray:
    """Orthonormal basis (m, rank) of the column space of one layer's ΔW (m, n)."""
    from sap.lowrank import svd  # imports torch, which only files of updates bring along

    return svd(entry).significant().U.cpu().numpy()


def _mean_angle(a: np.ndarray, b: np.ndarray) -> float:
    """Mean principal angle, degrees, between the column spaces of (m, q) and (m, p); NaN where one has no column."""
    return float(np.degrees(subspace_angles(a, b)).mean()) if a.size and b.size else np.nan


def _conflicts(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sign conflict and weighted conflict of all pairs, (K, K) each; `flat` (K, N). All pairs in one product each.

    With s = sign, Σ s_a s_b = agreeing − differing and Σ |s_a s_b| = agreeing + differing, exact in float32 below 2^24.
    """
    signs, sizes = np.sign(flat), np.abs(flat)
    differing = (np.abs(signs) @ np.abs(signs).T - signs @ signs.T) / 2
    mass = sizes @ sizes.T
    with np.errstate(invalid="ignore", divide="ignore"):
        weighted = np.clip((mass - flat @ flat.T) / (2 * mass), 0, 1)
    return differing.astype(np.float64) / flat.shape[1], weighted


def layer_saliency(update: Any, gradients: Mapping[str, Any], signed: bool = True) -> list[dict[str, Any]]:
    """Rows layer, entries, delta_norm, gradient_norm, score_share, predicted_change of one client.

    score_share: this layer's part of Σ |w·g| over all layers, in [0, 1]. predicted_change: −Σ w·g, the first-order
    change of the anchor loss if the layer's update were removed; None where the gradients are mean |g_i|
    (`signed=False`). Norms are Frobenius norms.
    """
    rows = []
    norms = update.norms()
    for layer in update:
        gradient = gradients[layer].double()
        product = update.dense(layer).cpu().double() * gradient
        rows.append(
            {
                "layer": layer,
                "entries": product.numel(),
                "delta_norm": norms[layer],
                "gradient_norm": float(gradient.norm()),
                "score_share": float(product.abs().sum()),
                "predicted_change": -float(product.sum()) if signed else None,
            }
        )
    total = sum(row["score_share"] for row in rows)
    return [row | {"score_share": row["score_share"] / total if total else 0.0} for row in rows]
