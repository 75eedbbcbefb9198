"""What one draw of the anchors is made of."""

from dataclasses import dataclass
from typing import Any

from sap.plans import metas


@dataclass(frozen=True, kw_only=True)
class AnchorsPlan:
    """`anchors`, `input`: the config's section, and what the backbone takes; `data`: what the source reads of that
    section; `files`: the captions; `stamp` stands for those of them that cannot be inputs of a rule, and for a listing
    of labelled images; `backbone`: its folder, for the tokenizer; `words`: of the pool `classes`, texts and prompts."""

    draw: int
    anchors: dict[str, Any]
    data: dict[str, Any]
    input: dict[str, Any]
    files: tuple[str, ...]
    stamp: str
    backbone: str
    words: dict[str, Any] | None = None

    def inputs(self) -> list[str]:
        return [*self.files, *metas([self.backbone])]
