"""TIES: trim each client, elect a sign per entry, average the clients that agree.

    T_k = the ⌊density·N⌋ largest |ΔW_k|, other entries 0           (m, n)
    σ   = + where Σ_k T_k ≥ 0, else −                               (m, n)
    ΔW* = Σ_k T_k [sign T_k = σ] / #{k: sign T_k = σ}               (m, n), 0 where nobody agrees

Yadav et al., NeurIPS 2023, arXiv:2306.01708. The default trims per layer with the exact count and elects + where the
sum is zero (as peft and mergekit). The authors' code (prateeky2806/ties-merging) is `trim: model, kept: inclusive,
elect: majority`: one threshold over all layers; every value at or above the k-th smallest, k = N − ⌊density·N⌋, so one
entry more and all that are equal to it; where the sum is zero the sign that more entries of the model have, − where
neither does. `elect: frequency` counts heads, `average: sum` and `max` are the authors' other merge functions. Sample
shares enter as K·w_k: `samples` before the election and in the divisor (mergekit), `samples_after_election` on the
values only (peft).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from sap.config import option
from sap.merge._api import merge_method
from sap.merge._combine import balance, by_sign
from sap.merge._trimming import largest
from sap.selection import Cut, find_cut, find_threshold, floor_share, kept
from sap.update import Stack


@dataclass(frozen=True)
class Options:
    density: float = option(0.2, "share of entries each client keeps", above=0, high=1)
    trim: str = option("layer", "one threshold per layer, or one per client over the model", choices=("layer", "model"))
    kept: str = option(
        "exact",
        "`exact` keeps ⌊density·N⌋, `inclusive` the next one and all as large as that, too (the authors' code)",
        choices=("exact", "inclusive"),
    )
    elect: str = option(
        "total",
        "sign by the sum of values, or by heads, + where that is zero; `majority`: by the sum, and where that is zero "
        "the sign of most entries of the model (the authors' code)",
        choices=("total", "frequency", "majority"),
    )
    average: str = option("mean", "what becomes of the clients that agree", choices=("mean", "sum", "max"))
    weights: str = option(
        "uniform",
        "`samples` weighs votes and values by sample count, `samples_after_election` the values only",
        choices=("uniform", "samples", "samples_after_election"),
    )


# K equal clients give the trimmed client, not the client, as soon as density < 1; average `sum` gives K times it.
@merge_method(
    "ties",
    paper="arXiv:2306.01708",
    family="task vectors",
    options=Options,
    scope="model",
    needs={"counts": {"weights": ("samples", "samples_after_election")}},
    average=False,
)
def ties(stacks: Mapping[str, Stack], options: Options) -> dict[str, Tensor]:
    """TIES: trim each client, elect a sign per entry, average the clients that agree."""
    n_clients = len(stacks[next(iter(stacks))].clients)
    cuts = None
    if options.trim == "model":  # one client at a time: one model's magnitudes fit into memory, all may not
        cuts = [_cut([stacks[layer].delta(client).abs() for layer in stacks], options) for client in range(n_clients)]
    shares = (stacks[next(iter(stacks))].weights * n_clients).tolist()
    before = shares if options.weights == "samples" else None  # the election
    after = None if options.weights == "uniform" else shares

    places = {layer: place for place, layer in enumerate(stacks)}

    def trimmed(layer: str) -> Iterator[Tensor]:
        return _trimmed(stacks[layer], cuts, places[layer], options)

    undecided = 1
    if options.elect == "majority":
        undecided = sum(balance(trimmed(layer), before) for layer in stacks)
    return {
        layer: by_sign(
            trimmed(layer),
            options.elect,
            options.average,
            votes=before,
            shares=after,
            heads=before,
            undecided=undecided,
        )
        for layer in stacks
    }


def _cut(sizes: list[Tensor], options: Options) -> Cut:
    """The cut through one client's whole model, or one layer of it."""
    total = sum(size.numel() for size in sizes)
    find = find_threshold if options.kept == "inclusive" else find_cut
    return find(sizes, total - floor_share(options.density, total))


def _trimmed(stack: Stack, model_cuts: list[Cut] | None, index: int, options: Options) -> Iterator[Tensor]:
    """T_k of every client, one at a time; `index` is the layer's place in the order that made the model's cuts."""
    for client in range(len(stack.clients)):
        delta = stack.delta(client)
        if model_cuts:
            yield delta * kept(delta.abs(), model_cuts[client], index)
        elif options.kept == "exact":
            yield largest(delta, floor_share(options.density, delta.numel()))
        else:
            size = delta.abs()
            yield delta * kept(size, _cut([size], options))
