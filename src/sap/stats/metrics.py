"""Metrics of one method's predictions on one domain beside plain accuracy."""

import numpy as np
from numpy.typing import ArrayLike

from sap.stats.ties import at_least

LEAST_PROBABILITY = 1e-12


def balanced_accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes that occur in `labels` of the share recognised; (n,) int each."""
    labels = np.asarray(labels)
    counts = np.bincount(labels)
    right = np.bincount(labels[np.asarray(predicted) == labels], minlength=counts.size)
    return float((right[counts > 0] / counts[counts > 0]).mean())


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): Σ over bins of the share of images × |accuracy − mean confidence|.

    confidence: (n,) float, probability of the predicted class; correct: (n,) bool. Bins of equal width, [low, high),
    the last one closed: as in the paper, a confidence of exactly 1 lies in it. (The paper closes all its bins above and
    not below, which is another bin only for a confidence on an inner edge.)
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    index = np.digitize(confidence, np.linspace(0, 1, bins + 1)[:-1]) - 1
    return float(np.abs(np.bincount(index, weights=correct - confidence)).sum() / confidence.size)


def nll(true_probability: ArrayLike) -> float:
    """Mean of −log of the true class's probability, (n,) float, in nats; probabilities are floored at 1e-12."""
    return float(-np.log(np.maximum(np.asarray(true_probability, dtype=np.float64), LEAST_PROBABILITY)).mean())


def normalised(accuracy: float, zero_shot: float, ceiling: float, least: float = 0.02) -> float:
    """(accuracy − zero_shot) / (ceiling − zero_shot), all shares; NaN where that room is under `least`."""
    room = ceiling - zero_shot
    return (accuracy - zero_shot) / room if at_least(room, least) else np.nan
