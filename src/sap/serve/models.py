"""Models that were trained, or not at all: zero-shot, a client alone, and both ceilings."""

from sap.serve._api import Fold, Served, Settings, one, served


@served("zero_shot", "zero-shot", group="floor")
def zero_shot(settings: Settings, fold: Fold) -> Served:
    """The frozen model."""
    return one(None)


@served("client", "client", reads=("client",), group="floor")
def client(settings: Settings, fold: Fold) -> Served:
    """One client's upload, alone."""
    return one(fold.client(settings))


@served("pooled", "pooled-source LoRA", reads=("pooled",), group="ceiling", images="all clients' images")
def pooled(settings: Settings, fold: Fold) -> Served:
    """One training on all source domains' images: no federation."""
    return one(fold.trained["pooled"])


@served("oracle", "in-domain oracle", reads=("oracle",), group="ceiling", images="target's images")
def oracle(settings: Settings, fold: Fold) -> Served:
    """A training on the target's own images."""
    return one(fold.trained["oracle"])
