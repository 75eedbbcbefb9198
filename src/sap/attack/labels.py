"""Wrong labels for a client, drawn from a generator that the caller seeds."""

import numpy as np

from sap.errors import SapError
from sap.registry import unknown

KINDS = ("none", "uniform", "derangement", "single", "backdoor")
TARGETED = ("single", "backdoor")


def corrupt_labels(
    labels: np.ndarray, n_classes: int, kind: str, fraction: float, target: int | None, rng: np.random.Generator
) -> np.ndarray:
    """A corrupted copy of labels (N,) int64; exactly round(fraction · N) images are selected, the rest stay.

    uniform      each selected label becomes a uniformly random wrong one
    derangement  each selected label c becomes π(c), π one random permutation of the classes without fixed points
    single       each selected label becomes `target` (default class 0); an image that already has it counts as
                 selected but does not change, so fewer labels than selected may differ
    backdoor     the labels of `single`; the trainee also stamps the selected images, see `sap.attack.backdoor`

    The selected sets of one generator state are nested in `fraction`, and so are the labels they receive.
    """
    if kind not in KINDS:
        raise SapError(f"corruption.kind: {unknown('value', kind, list(KINDS))}")
    if not 0 <= fraction <= 1:
        raise SapError(f"corruption.fraction must lie in [0, 1], got {fraction!r}.")
    target = 0 if target is None else target
    if kind in TARGETED and not 0 <= target < n_classes:
        raise SapError(f"corruption.target_class must be one of the {n_classes} classes, got number {target}.")
    if kind in ("uniform", "derangement") and n_classes < 2:
        raise SapError(f"corruption.kind {kind} needs at least 2 classes, got {n_classes}.")
    corrupted = labels.astype(np.int64, copy=True)
    if kind == "none":
        return corrupted
    chosen = selected(len(labels), fraction, rng)
    if kind == "uniform":
        wrong = (labels + rng.integers(1, n_classes, len(labels))) % n_classes
    elif kind == "derangement":
        wrong = derangement(n_classes, rng)[labels]
    else:
        wrong = np.full_like(corrupted, target)
    corrupted[chosen] = wrong[chosen]
    return corrupted


def selected(n: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Positions of the round(fraction · n) of n images that `corrupt_labels` selects with a generator of this state."""
    return rng.permutation(n)[: round(fraction * n)]


def derangement(n: int, rng: np.random.Generator) -> np.ndarray:
    """A uniformly random permutation (n,) without fixed points, n ≥ 2; by rejection, e draws on average."""
    while True:
        permutation = rng.permutation(n)
        if not np.any(permutation == np.arange(n)):
            return permutation
