"""Combinations of settings that no merge could run: the config, the library and the merge tool refuse them alike."""

from collections.abc import Mapping
from typing import Any

from sap.errors import SapError
from sap.needs import STATISTICS, from_source

Settings = Mapping[str, Any]


def check_combination(point: Settings, criterion: Settings, merge: Settings, where: str = "") -> None:
    """SapError, a sentence behind `where`, for a complete point that no merge could run.

    `criterion` and `merge`: what the point's methods declared, `needs` and `signed` of the one (empty where nothing is
    pruned), `needs` and `space` of the other.
    """
    name, method = point["criterion"], point["merge"]["method"]
    rules = {}
    if point.get("attacker_weight") is not None:
        rules[f"attacker_weight is a weight of merge: weighted_mean, got {method}."] = method != "weighted_mean"
    if point.get("attack", "none") != "none":
        for asks, declared in ((method, merge), (name, criterion)):
            measured = from_source(STATISTICS, declared.get("needs", ()))
            rules[f"{asks} needs measured clients, and an attacked one is not measured."] = bool(measured)
    for sentence, happens in (rules | (_pruning(point, criterion, merge) if name != "none" else {})).items():
        if happens:
            raise SapError(f"{where}{sentence}")


def _pruning(point: Settings, criterion: Settings, merge: Settings) -> dict[str, bool]:
    """Sentence -> whether it holds of a point that prunes."""
    name, space, unit, scope = (point[field] for field in ("criterion", "space", "unit", "scope"))
    ratio, top = point["prune_ratio"], point["prune_top"]
    return {
        f"{name} needs the gradient's sign, which reduction mean_of_absolute has lost. Set reduction: "
        "absolute_of_mean.": criterion["signed"] and point["reduction"] == "mean_of_absolute",
        "unit component drops rank-1 components, which only factors have. Set space: factors.": (
            unit == "component" and space != "factors"
        ),
        "rescale robustmerge lifts rank-1 components whose entries were pruned. Set space: factors, unit: entry.": (
            point["rescale"] == "robustmerge" and (space, unit) != ("factors", "entry")
        ),
        f"{name} is measured on the dense update. Set space: delta.": (
            space == "factors" and bool(from_source(STATISTICS, criterion["needs"]))
        ),
        "scope row cuts inside each output row, so its unit is the entry. Set unit: entry.": (
            scope == "row" and unit != "entry"
        ),
        "unit layer drops whole layers of the model. Set scope: model.": unit == "layer" and scope != "model",
        f"prune_top is a part of prune_ratio, so it must be at most {ratio}, got {top}.": 0 < ratio < top,
        f"{point['merge']['method']} merges factors, but pruning in space delta leaves none. Set space: factors, or "
        "use a merge of dense updates.": ratio > 0 and (space, merge["space"]) == ("delta", "factors"),
    }


def unshared_factor(merge: Settings, lora: Settings) -> str | None:
    """Why the factors that LoRM insists on sharing are not shared: somebody trains them, or not all start alike."""
    if merge["method"] != "lorm" or not (merge["projected"] or merge["shared"]):
        return None
    trained = "A" if merge["shared"] == "B" else "B"
    if lora["factors"] == trained and lora["start"] == "shared":
        return None
    return (
        "lorm with `shared` or `projected` needs one factor that all clients share. Set train.lora."
        f"factors: {trained} and train.lora.start: shared, or leave both options out."
    )
