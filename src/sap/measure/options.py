"""Settings of the measure stage."""

from dataclasses import dataclass

from sap.config import option


@dataclass(frozen=True)
class MeasureOptions:
    images: int = option(
        256,
        "training images of a client (for its curve: validation images), or anchors, that are measured, at most",
        low=1,
    )
