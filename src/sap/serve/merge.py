"""The merged update of all clients, in the model's weights."""

from sap.serve._api import Fold, Served, Settings, one, served


@served("merge", "merge", reads=("merge",))
def merge(settings: Settings, fold: Fold) -> Served:
    """One merged update."""
    update = fold.merge(settings)
    return one(update, facts=fold.facts(settings, update) if "attack" in settings else {})
