"""Where the backbone comes from."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BackbonePlan:
    """`backbone`: the config's section; `corpus`: the source of what it is pretrained on and what that depends on, None
    where it comes from `files`; `stamp` stands for those of them that cannot be inputs of a rule."""

    backbone: dict[str, Any]
    corpus: dict[str, Any] | None
    files: tuple[str, ...]
    stamp: str

    def inputs(self) -> list[str]:
        return list(self.files)
