"""Whose update is pruned, how."""

from dataclasses import dataclass

from sap.plans import Folders, PointPlan, metas


@dataclass(frozen=True, kw_only=True)
class PrunePlan:
    """`adapter`: the client's upload; `gradients`: their folder, None where the point reads none; `statistics`: id ->
    upload."""

    client: str
    seed: int
    point: PointPlan
    adapter: str
    gradients: str | None
    statistics: Folders

    def inputs(self) -> list[str]:
        return metas([self.adapter, *([self.gradients] if self.gradients else []), *self.statistics.values()])
