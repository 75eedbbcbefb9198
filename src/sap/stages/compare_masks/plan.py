"""Which masks are compared."""

from dataclasses import dataclass

from sap.plans import Folders, metas


@dataclass(frozen=True, kw_only=True)
class MasksPlan:
    """`clients`: name -> upload; `gradients`: draw of the anchors -> client -> folder; `ratios`: every ρ."""

    seed: int
    clients: Folders
    gradients: dict[int, Folders]
    sizes: tuple[int, ...]
    ratios: tuple[float, ...]

    def inputs(self) -> list[str]:
        gradients = [folder for folders in self.gradients.values() for folder in folders.values()]
        return metas([*self.clients.values(), *gradients])
