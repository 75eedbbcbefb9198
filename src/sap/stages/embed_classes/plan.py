"""What the class features are made of."""

from dataclasses import dataclass

from sap.plans import metas


@dataclass(frozen=True, kw_only=True)
class ClassesPlan:
    """`classes`: texts in label order; `prompts`: templates with {} for the class; `backbone`: its folder."""

    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    backbone: str

    def inputs(self) -> list[str]:
        return metas([self.backbone])
