"""Ids: a readable slug and ten hex digits of exactly the fields that a stage reads."""

import re
from collections.abc import Mapping
from typing import Any

from sap.io import canonical, digest

ID_PATTERN = r"[a-z0-9][a-z0-9_.-]*-[0-9a-f]{10}"


def make_id(slug: str, fields: Mapping[str, Any]) -> str:
    """`slug-0123456789`: equal fields give equal ids, whatever the order of the keys.

    The fields are those that the stage reads, with the id of the stage before it among them; labels,
    devices, thread counts and evaluation batches are never among them.
    """
    return f"{clean(slug)}-{digest(canonical(normal(fields)))}"


def clean(slug: str) -> str:
    """Lower case, and only characters that are safe in a path on every system."""
    return re.sub(r"[^a-z0-9_.]+", "-", slug.lower()).strip("-.")[:40] or "x"


def normal(value: Any) -> Any:
    """1.0 and 1 are the same number, so they must give the same id; booleans are not numbers."""
    if isinstance(value, (str, int)):  # nearly all values: asking for a Mapping first takes longer than all the rest
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {key: normal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [normal(item) for item in value]
    return value
