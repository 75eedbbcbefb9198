"""One merge at several scales, side by side: nobody has to choose λ.

    p(y | x) = (1/S) Σ_s p(y | x; W0 + s · ΔW)          ΔW the point's own merge, its `scale` included

The best λ differs between unseen domains and is not known; an average over the path never does much worse than its
middle. It costs S passes of the image tower and keeps one update. A scale of 0 is zero-shot.

Departures: nobody published it as far as we know; Wortsman et al., CVPR 2022, arXiv:2109.01903, draw the same path in
weight space and take one point of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sap.config import option
from sap.serve._api import Fold, Judge, Served, Settings, options_of, served, size_of


@dataclass(frozen=True)
class Options:
    scales: tuple[float, ...] = option(
        (0.25, 0.5, 0.75, 1.0, 1.25, 1.5), "factors of the point's own merge, one pass each", low=0, min_items=1
    )


@served(
    "scale_average",
    "average over scales",
    reads=("merge",),
    options=Options,
    checked="the mean of the probabilities of the same merge at each λ",
)
def scale_average(settings: Settings, fold: Fold) -> Served:
    """The mean of one merge's probabilities over several scales of it, a pass each."""
    merged = fold.merge(settings)
    path = [merged.scaled(scale) for scale in options_of(settings).scales]

    def predict(judge: Judge, images: Any) -> np.ndarray:
        return np.asarray(np.mean([judge.probabilities(images, update) for update in path], axis=0, dtype=np.float32))

    return Served(predict, len(path), size_of(merged))
