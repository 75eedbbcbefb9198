"""The clients' models side by side, each with its own pass: the function space answer to a merge."""

from collections.abc import Callable

import numpy as np
import torch

from sap.serve._api import Fold, Served, Settings, served, size_of


@served("ensemble", "output ensemble (probabilities)", reads=("clients",), group="floor")
def ensemble(settings: Settings, fold: Fold) -> Served:
    """The mean of the clients' probabilities."""
    return _of_all(fold, lambda each: _mean([_softmax(logits) for logits in each]))


@served("ensemble_logits", "output ensemble (logits)", reads=("clients",), group="floor")
def ensemble_logits(settings: Settings, fold: Fold) -> Served:
    """The softmax of the mean of the clients' logits."""
    return _of_all(fold, lambda each: _softmax(_mean(each)))


def _of_all(fold: Fold, combine: Callable[[list[np.ndarray]], np.ndarray]) -> Served:
    updates = [fold.trained[name] for name in fold.clients]
    predict = lambda judge, test: combine([judge.logits(test, update) for update in updates])  # noqa: E731
    return Served(predict, len(updates), size_of(*updates))


def _mean(each: list[np.ndarray]) -> np.ndarray:
    return np.asarray(np.mean(each, axis=0, dtype=np.float32))


def _softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(1).numpy()
