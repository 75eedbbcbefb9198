"""At whose weights, and on which anchors, gradients are computed."""

from dataclasses import dataclass

from sap.plans import metas


@dataclass(frozen=True, kw_only=True)
class ScorePlan:
    """`adapter`: the client's upload; `anchors`: folder of the draw; `sizes`: nested sets, each with its gradients."""

    client: str
    seed: int
    alignment: str
    reduction: str
    sizes: tuple[int, ...]
    adapter: str
    anchors: str
    backbone: str

    def inputs(self) -> list[str]:
        return metas([self.backbone, self.adapter, self.anchors])
