"""What a point (one server-side setting) is where it says nothing: read by the config's schema, the library and the
merge tool alike, so that the same few words mean the same everywhere."""

from typing import Any

DEFAULTS: dict[str, Any] = {
    "merge": {"method": "mean"},
    "criterion": "none",
    "space": "delta",
    "prune_ratio": 0.5,  # read only where a criterion is named
    "prune_top": 0.0,
    "count": "floor",
    "unit": "entry",
    "scope": "layer",
    "rescale": "none",
    "alignment": "cosine",
    "reduction": "absolute_of_mean",
    "anchor_size": 32,
    "anchor_draw": 0,
    "statistics": "client",
    "control": "none",
    "rank": None,
    "scale": 1.0,
}
