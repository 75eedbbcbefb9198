"""The average of a training's iterates: what is uploaded in place of the last one.

    X̄ = Σ_t w_t X_t / Σ_t w_t      for each trained factor X, over iterates t = 0 (the start) ... N (after N steps)

swa   w_t = 1 for t > start · N, else 0       Izmailov et al. 2018, "Averaging weights leads to wider optima"
beta  w_t = pdf of Beta(0.5, 0.5) at (t + 0.5) / (N + 1), so that the start and the end weigh most
      Shu et al. 2023, "CLIPood"; thuml/CLIPood: main.py (weight_func), engine.py (GeneralMovingAverage)

Departures: both papers average the weights, here W0 + ΔW. The mean of B_t A_t has no low rank, and an upload has: the
factors are averaged each for itself. B̄Ā differs from the mean of B_t A_t by their covariance,

    Σ_t w_t B_t A_t − B̄ Ā = Σ_t w_t (B_t − B̄)(A_t − Ā)      (weights that sum to 1),

which is zero where one factor is frozen (`train.lora.factors`). `swa` takes every step, at the schedule's rates, not
one iterate per cycle of a cyclic rate.
"""

import math
from collections.abc import Mapping

import torch

from sap.train.options import TrainOptions


def iterate_weight(iterate: int, steps: int, options: TrainOptions) -> float:
    """w_t of the iterate after so many of `steps`, up to a common factor; 0 where nothing is averaged."""
    if options.average == "none":
        return 0.0
    if options.average == "swa":
        return float(iterate > options.average_start * steps)
    place = (iterate + 0.5) / (steps + 1)
    return 1 / (math.pi * math.sqrt(place * (1 - place)))


@torch.no_grad()
def take_iterate(
    average: dict[str, torch.Tensor], total: float, factors: Mapping[str, torch.Tensor], weight: float
) -> float:
    """Move the running `average` (in place) to hold these factors with `weight` beside a `total`; the new total."""
    if not weight:
        return total
    share = weight / (total + weight)
    for name, factor in factors.items():
        if name in average:
            average[name].lerp_(factor, share)
        else:
            average[name] = factor.detach().clone()
    return total + weight
