"""The JSON schema of the config, written by `python docs/generate.py` from the code's own declarations."""

from functools import cache
from pathlib import Path
from typing import Any

from sap.io import read_json


@cache
def schema() -> dict[str, Any]:
    """The whole schema; `$defs` holds a block of points, and every method, criterion, attack and kind."""
    return read_json(Path(__file__).with_name("config.schema.json"))
