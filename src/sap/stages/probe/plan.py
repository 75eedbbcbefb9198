"""What the probes are trained on: every domain's images under some merges."""

from dataclasses import dataclass

from sap.plans import FoldPlan


@dataclass(frozen=True, kw_only=True)
class ProbePlan(FoldPlan):
    """`images`: at most so many of each domain and split."""

    images: int
