"""Plans made by hand, of which a test says only what it is about."""

from pathlib import Path
from typing import Any

import msgspec

from sap.data.digits import CLASSES
from sap.plans import FoldPlan

NOTHING = {
    "dataset": "made", "precision": "float32", "backbone": "", "classes": "", "target": "none", "seed": 0,
    "domains": {}, "clients": {}, "points": [],
}  # fmt: skip


def made_fold(**given: Any) -> FoldPlan:
    """A fold plan with the given fields, in plain JSON."""
    return msgspec.convert(NOTHING | given, FoldPlan)


SKETCH = {  # of prepare_domain: 80 images of 16 pixels
    "domain": "sketch", "data": {"digits": {"per_class": 8}}, "input": {"size": 16}, "classes": CLASSES, "listing": "",
}  # fmt: skip


def whole_domain(folder: Path) -> dict[str, Any]:
    """The share of a trainee who holds all of the domain in `folder` and is called like it, in plain JSON."""
    parts = [{"domain": folder.name, "index": None}]
    return {
        "trainee": folder.name,
        "domains": [str(folder)],
        "parts": parts,
        "partition": None,
        "corruption": None,
    }
