"""How far a client's masks agree across draws and sizes of the anchors, and in which layers its kept entries lie."""

from typing import Any

from sap.compose import LazyGradients
from sap.io import seed_of
from sap.progress import bar
from sap.prune.magnitude import magnitude
from sap.prune.taylor import taylor_absolute
from sap.stages.compare_masks.plan import MasksPlan
from sap.stats.masks import kept_by_layer, mask_agreement
from sap.update import load_adapter

Rows = list[dict[str, Any]]
PAIR_COLUMNS = ["seed", "client", "ratio", "draw_a", "size_a", "draw_b", "size_b", "jaccard", "chance", "spearman"]
KEPT_COLUMNS = ["seed", "client", "ratio", "layer", "entries", "kept"]


def compare_masks(plan: MasksPlan) -> tuple[Rows, Rows]:
    """(a row per client, ρ and pair of anchor sets; a row per client, ρ and layer): PAIR_COLUMNS, KEPT_COLUMNS."""
    sources = [(draw, size) for draw in sorted(plan.gradients) for size in sorted(plan.sizes)]
    pairs, kept = [], []
    for client, folder in bar(plan.clients.items(), desc="clients", unit="client", mininterval=2):
        names = {"seed": plan.seed, "client": client}
        update = load_adapter(folder)
        gradients = {
            (draw, size): LazyGradients(f"{plan.gradients[draw][client]}/gradients.safetensors", size)
            for draw, size in sources
        }
        layers = (
            {source: taylor_absolute(update.dense(layer), found[layer]) for source, found in gradients.items()}
            | {("magnitude", 0): magnitude(update.dense(layer))}
            for layer in update
        )
        for row in mask_agreement(layers, plan.ratios, seed_of("compare-masks", client, plan.seed)):
            (draw_a, size_a), (draw_b, size_b) = row.pop("source_a"), row.pop("source_b")
            sides = {"draw_a": draw_a, "size_a": size_a, "draw_b": draw_b, "size_b": size_b}
            pairs.append(names | sides | row)
        shown = gradients[sources[0][0], max(plan.sizes)]
        whole = {layer: taylor_absolute(update.dense(layer), shown[layer]) for layer in update}
        kept += [names | row for row in kept_by_layer(whole, plan.ratios)]
    return pairs, kept
