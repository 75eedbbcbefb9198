"""Where the updates of clients that adapt both towers conflict: the visual against the text tower, layer by layer."""

from typing import Any

from sap.errors import SapError
from sap.lowrank import rank_of
from sap.stages.compare_towers.plan import TowersPlan
from sap.stats.agreement import chance_angle, client_agreement
from sap.update import check_alike, load_adapter

COLUMNS = [
    "seed", "tower", "layer", "client_a", "client_b", "cosine", "sign_conflict", "weighted_conflict", "angle",
    "chance_angle", "norm_a", "norm_b",
]  # fmt: skip


def compare_towers(plan: TowersPlan) -> list[dict[str, Any]]:
    """One row per layer and pair of clients (COLUMNS), see sap.stats.agreement.

    SapError where only one tower is adapted.
    """
    updates = {name: load_adapter(folder) for name, folder in plan.clients.items()}
    check_alike(updates)
    layers = next(iter(updates.values()))
    towers = {layer: "visual" if layer.startswith("visual.") else "text" for layer in layers}
    if len(set(towers.values())) < 2:
        raise SapError(
            f"the clients must adapt both towers, they adapt {towers.popitem()[1]} layers only. "
            "Train them with train.lora.towers: both."
        )
    ranks = {name: {layer: rank_of(update[layer]) for layer in update} for name, update in updates.items()}
    norms = {name: update.norms() for name, update in updates.items()}
    rows = []
    for row in client_agreement(updates):
        layer, a, b = row["layer"], row["client_a"], row["client_b"]
        chance = chance_angle(layers.shape(layer)[0], ranks[a][layer], ranks[b][layer], plan.seed)
        facts = {"chance_angle": chance, "norm_a": norms[a][layer], "norm_b": norms[b][layer]}
        rows.append({"seed": plan.seed, "tower": towers[layer], **row, **facts})
    return rows
