"""Whose updates are compared, with which gradients."""

from dataclasses import dataclass

from sap.plans import Folders, metas


@dataclass(frozen=True, kw_only=True)
class DiagnosePlan:
    """`clients`: name -> upload; `gradients`: name -> folder; `size`: of the anchor set whose gradients count."""

    seed: int
    size: int
    clients: Folders
    gradients: Folders

    def inputs(self) -> list[str]:
        return metas([*self.clients.values(), *self.gradients.values()])
