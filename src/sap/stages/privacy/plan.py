"""What is asked of the uploads: which images their clients trained on."""

from dataclasses import dataclass
from typing import Any

from sap.plans import FoldPlan


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan(FoldPlan):
    """`images`: at most so many members and as many others; `shares`: client -> what its training read of its data."""

    images: int
    shares: dict[str, dict[str, Any]]
