"""What passes through whose model."""

from dataclasses import dataclass

from sap.plans import SharePlan, metas


@dataclass(frozen=True, kw_only=True)
class MeasurePlan:
    """`kind`: gram, fisher, moments, failures or curve, of at most so many `images`; `share`: the client's own, None
    where those of `anchors`, a folder, are measured; `adapter`: the client's upload."""

    client: str
    seed: int
    kind: str
    source: str
    images: int
    share: SharePlan | None
    anchors: str | None
    adapter: str
    backbone: str
    classes: str

    def inputs(self) -> list[str]:
        read = self.share.domains if self.share else [self.anchors or ""]
        return metas([self.backbone, self.classes, self.adapter, *read])
