"""Whose towers are compared."""

from dataclasses import dataclass

from sap.plans import Folders, metas


@dataclass(frozen=True, kw_only=True)
class TowersPlan:
    """`clients`: name -> upload of a client with LoRA on both towers."""

    seed: int
    clients: Folders

    def inputs(self) -> list[str]:
        return metas(self.clients.values())
