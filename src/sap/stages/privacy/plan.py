"""What is asked of the uploads: which images their clients trained on."""

from dataclasses import dataclass

from sap.plans import FoldPlan, SharePlan


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan(FoldPlan):
    """`images`: at most so many members and as many others; `shares`: client -> the images that it trained on."""

    images: int
    shares: dict[str, SharePlan]
