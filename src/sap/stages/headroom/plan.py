"""What the headroom of one domain is measured on: the frozen backbone and both ceilings."""

from dataclasses import dataclass

from sap.plans import ModelPlan, metas


@dataclass(frozen=True, kw_only=True)
class HeadroomPlan(ModelPlan):
    """`data`: folder of the prepared domain; `sources`: those of the others; `pooled`, `oracle`: uploads; `images`: at
    most so many for the probe."""

    domain: str
    seed: int
    data: str
    sources: dict[str, str]
    pooled: str
    oracle: str
    images: int

    def inputs(self) -> list[str]:
        return metas([self.backbone, self.classes, self.data, *self.sources.values(), self.pooled, self.oracle])
