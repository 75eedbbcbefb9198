"""What one domain's images are decoded from."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DomainPlan:
    """`data`, `input`: the config's section and what the backbone takes; `classes`: folder names in label order;
    `listing` stands for the names of the domain's files, so that one that comes or goes makes another plan."""

    domain: str
    data: dict[str, Any]
    input: dict[str, Any]
    classes: tuple[str, ...]
    listing: str

    def inputs(self) -> list[str]:
        return []  # of a hundred thousand images Snakemake would ask the date, one by one
