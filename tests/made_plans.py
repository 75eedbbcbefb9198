"""Plans made by hand, of which a test says only what it is about."""

from typing import Any

import msgspec

from sap.plans import FoldPlan

NOTHING = {
    "dataset": "made", "precision": "float32", "backbone": "", "classes": "", "target": "none", "seed": 0,
    "domains": {}, "clients": {}, "points": [],
}  # fmt: skip


def made_fold(**given: Any) -> FoldPlan:
    """A fold plan with the given fields, in plain JSON."""
    return msgspec.convert(NOTHING | given, FoldPlan)
