"""What one adapter is trained on."""

from dataclasses import dataclass
from typing import Any

from sap.plans import SharePlan, metas


@dataclass(frozen=True, kw_only=True)
class TrainPlan(SharePlan):
    """`train`: the config's section; `backbone`, `classes`: folders; see SharePlan for whose images."""

    seed: int
    train: dict[str, Any]
    backbone: str
    classes: str

    def inputs(self) -> list[str]:
        return metas([self.backbone, self.classes, *self.domains])
