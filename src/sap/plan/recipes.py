"""Other trainings than that of the section `train`, by name: what a recipe says differently, on top of it. No torch."""

import re
from collections.abc import Mapping
from typing import Any

from sap.config import validate
from sap.errors import SapError
from sap.plan.overlays import merged
from sap.plan.schema import schema
from sap.setting import PLAIN

NAME = r"[a-z0-9][a-z0-9_]{0,39}"  # it stands in labels and in ids of points


def resolved_recipes(given: Mapping[str, Any], train: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> the whole training section of every recipe, on top of a resolved `train`; SapError with a key's path."""
    found = {}
    for name, changes in given.items():
        if not re.fullmatch(NAME, str(name)) or name == PLAIN:
            raise SapError(
                f"recipes: {name!r} cannot be a recipe's name. Small letters, digits and _ can, and '{PLAIN}' is train."
            )
        validate(changes, schema()["properties"]["train"], f"recipes.{name}")
        found[name] = merged(train, changes)
    return found
