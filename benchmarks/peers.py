"""What the peers (peft, mergekit, fusion-bench) do for the same merges, and what both sides share: clients, stopwatch.

Read by merging.py, which starts it once per row with the peers' own interpreter (peers.txt):

    benchmarks/.peers/bin/python benchmarks/peers.py '{"call": "mergekit ties", "blocks": 12, ...}'

Imports torch and the standard library only, each peer where it is called: the two environments share no other package.
"""

import contextlib
import gc
import importlib.metadata
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

BLOCKS = 12  # of CLIP ViT-B/32, each with these four layers, (out, in)
SHAPES = {
    "attn.in_proj": (2304, 768),
    "attn.out_proj": (768, 768),
    "mlp.c_fc": (3072, 768),
    "mlp.c_proj": (768, 3072),
}
RANK, SCALING = 8, 2.0
COUNTS = [1344, 1670, 1641, 1979, 800, 1200, 900]  # samples of a client, for methods that weigh by them

Result = Mapping[str, Any]  # layer -> dense (m, n), or the pair (A, B)
Timed = Callable[[], Result]
Prepare = Callable[[int, int], Callable[[], Timed]]  # (blocks, clients) -> what makes each call ready


# The clients


def layer_shapes(blocks: int) -> dict[str, tuple[int, int]]:
    """Layer name -> (m, n) of the first blocks."""
    return {f"blocks.{block}.{name}": shape for block in range(blocks) for name, shape in SHAPES.items()}


def random(shape: tuple[int, ...], *seed: int) -> Tensor:
    """Standard normal, the same numbers in both environments."""
    number = sum(part * 1009**place for place, part in enumerate(seed))
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))


def factors(client: int, blocks: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> (A, B) of one client, ΔW = SCALING · B A, entries of a trained adapter's size (about 1e-3)."""
    return {
        layer: (random((RANK, n), client, index, 1) / n**0.5, random((m, RANK), client, index, 2) / 200)
        for index, (layer, (m, n)) in enumerate(layer_shapes(blocks).items())
    }


def deltas(client: int, blocks: int) -> dict[str, Tensor]:
    """Layer -> dense ΔW of one client."""
    return {layer: SCALING * B @ A for layer, (A, B) in factors(client, blocks).items()}


@cache
def gram(client: int, n: int) -> Tensor:
    """Positive definite (n, n), shared by all layers of this width."""
    rows = random((256, n), client, n, 3)
    return (rows.T @ rows / 256).add_(0.1 * torch.eye(n))


@cache
def gradient(client: int, shape: tuple[int, int]) -> Tensor:
    """Stands for a gradient (m, n), shared by all layers of this shape."""
    return random(shape, client, *shape, 4)


@cache
def fisher(client: int, shape: tuple[int, int]) -> Tensor:
    """Stands for diagonal Fisher information (m, n), shared by all layers of this shape."""
    return random(shape, client, *shape, 5).square_()


# The stopwatch


def memory() -> tuple[float, float]:
    """Resident memory of this process, now and at its highest, MiB (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def measure(fresh: Callable[[], Callable[[], Any]], repeats: int, seconds: float) -> tuple[dict[str, Any], Any]:
    """Median time of `repeats` calls after a cold first one, and the memory above what lay there before.

    `fresh` prepares a call outside the timed part. Calls go on for `seconds`; a second one is made up to 3 · `seconds`.
    """
    torch.linalg.svd(torch.eye(64))  # the buffers of the linear algebra library are not the method's
    gc.collect()
    Path("/proc/self/clear_refs").write_text(
        "5", encoding="utf-8"
    )  # the high-water mark starts here, without what the inputs took
    before, _ = memory()
    times, call, result = [], None, None
    while len(times) <= repeats and sum(times) <= (3 * seconds if len(times) == 1 else seconds):
        call = result = None  # what the last call made is gone before the next one starts
        call = fresh()
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    _, peak = memory()
    numbers = {"seconds": statistics.median(times[1:] or times), "n": len(times[1:]), "cold": times[0]}
    return numbers | {"peak": peak, "increase": max(peak - before, 0.0)}, result


def sample(result: Result) -> list[float]:
    """64 entries of each of the first block's layers, to see whether two results are the same."""
    found = []
    for index, layer in enumerate(layer_shapes(1)):
        entry, (m, n) = result[layer], SHAPES[layer.removeprefix("blocks.0.")]
        places = torch.Generator().manual_seed(index)
        i, j = torch.randint(m, (64,), generator=places), torch.randint(n, (64,), generator=places)
        if isinstance(entry, tuple):
            found += (entry[1].double()[i] * entry[0].double()[:, j].T).sum(1).tolist()
        else:
            found += entry[i, j].tolist()
    return found


def versions(*packages: str) -> str:
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


def answer(spec: Mapping[str, Any], run: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Run one row in this process; the last line of stdout is its result. Peers print to stdout too."""
    torch.set_num_threads(spec["threads"])
    with contextlib.redirect_stdout(sys.stderr):
        found = run(spec)
    print(json.dumps(found), flush=True)


# How the peers are called: each function prepares calls, imports included, outside the timed part


def peft_adapters(**settings: Any) -> Prepare:
    """`add_weighted_adapter` on plain linear layers; making the new adapter is part of peft's call."""

    def prepare(blocks: int, clients: int) -> Callable[[], Timed]:
        from peft import LoraConfig, get_peft_model

        names = {layer: layer.replace(".", "_") for layer in layer_shapes(blocks)}
        linear = {
            names[layer]: nn.utils.skip_init(nn.Linear, n, m, bias=False)
            for layer, (m, n) in layer_shapes(blocks).items()
        }
        config = LoraConfig(r=RANK, lora_alpha=SCALING * RANK, target_modules=list(linear))
        adapters = [str(client) for client in range(clients)]
        model = get_peft_model(nn.ModuleDict(linear), config, adapter_name=adapters[0])
        for adapter in adapters[1:]:
            model.add_adapter(adapter, config)
        modules = {layer: model.base_model.model[name] for layer, name in names.items()}
        for client, adapter in enumerate(adapters):
            for layer, (A, B) in factors(client, blocks).items():
                modules[layer].lora_A[adapter].weight.data = A
                modules[layer].lora_B[adapter].weight.data = B

        def call() -> Result:
            model.add_weighted_adapter(adapters, [1 / clients] * clients, "merged", **settings)
            return {
                layer: (module.lora_A["merged"].weight.data, module.lora_B["merged"].weight.data)
                for layer, module in modules.items()
            }

        def fresh() -> Timed:
            if "merged" in model.peft_config:
                model.delete_adapter("merged")
            return call

        return fresh

    return prepare


def apart(combination: str, density: float) -> Prepare:
    return peft_adapters(combination_type=combination, density=density)


def by_layer(load: Callable[[], Callable[[list[Tensor]], Tensor]]) -> Prepare:
    """What `load` returns is called with the clients' dense updates of one layer, layer after layer."""

    def prepare(blocks: int, clients: int) -> Callable[[], Timed]:
        function = load()
        updates = [deltas(client, blocks) for client in range(clients)]
        return lambda: lambda: {layer: function([update[layer] for update in updates]) for layer in updates[0]}

    return prepare


def by_model(load: Callable[[], Callable[[list[dict[str, Tensor]]], Result]]) -> Prepare:
    """What `load` returns is called with the clients' dense updates of all layers."""

    def prepare(blocks: int, clients: int) -> Callable[[], Timed]:
        function = load()
        updates = [deltas(client, blocks) for client in range(clients)]
        return lambda: lambda: function(updates)

    return prepare


def peft_function(name: str, **settings: Any) -> Prepare:
    """A pure function of peft.utils.merge_utils."""

    def load() -> Callable[[list[Tensor]], Tensor]:
        from peft.utils import merge_utils

        function = getattr(merge_utils, name)
        return lambda tensors: function(tensors, torch.full((len(tensors),), 1 / len(tensors)), **settings)

    return by_layer(load)


def mergekit(name: str, base: str | None = "zeros", **parameters: Any) -> Prepare:
    """`merge_tensors`, with a base of zeros (the updates are taken relative to it), or the first client, or none."""

    def load() -> Callable[[list[Tensor]], Tensor]:
        from mergekit.merge_methods.api import merge_tensors

        def function(tensors: list[Tensor]) -> Tensor:
            if base == "zeros":
                tensors = [zeros(tuple(tensors[0].shape)), *tensors]
            return merge_tensors(tensors, name, parameters=parameters, base_index=None if base is None else 0)

        return function

    return by_layer(load)


@cache
def zeros(shape: tuple[int, int]) -> Tensor:
    return torch.zeros(shape)


def fusion_ties(blocks: int, clients: int) -> Callable[[], Timed]:
    """TIES over the whole model, on flat vectors that lie there already."""
    from fusion_bench.method.ties_merging.ties_merging_utils import ties_merging

    shapes = layer_shapes(blocks)
    vectors = torch.empty(clients, sum(m * n for m, n in shapes.values()))
    for client in range(clients):
        torch.cat([delta.flatten() for delta in deltas(client, blocks).values()], out=vectors[client])

    def call() -> Result:
        merged = ties_merging(vectors, reset_thresh=20, merge_func="mean")
        parts = merged.split([m * n for m, n in shapes.values()])
        return {layer: part.view(shape) for (layer, shape), part in zip(shapes.items(), parts, strict=True)}

    return lambda: call


def fusion_tsv_m() -> Callable[[list[dict[str, Tensor]]], Result]:
    from fusion_bench.method.task_singular_vector.utils.TSVM_utils import compute_and_sum_svd_mem_reduction

    return lambda updates: compute_and_sum_svd_mem_reduction(updates, accelerator="cpu")


def fusion_iso_c() -> Callable[[list[dict[str, Tensor]]], Result]:
    from fusion_bench.method.isotropic_merging.iso_utils import iso_c

    return lambda updates: iso_c(updates, accelerator="cpu")


def fusion_iso_cts() -> Callable[[list[dict[str, Tensor]]], Result]:
    from fusion_bench.method.isotropic_merging.iso_utils import iso_cts

    return lambda updates: iso_cts(updates, common_space_fraction=0.8, accelerator="cpu")


def fusion_wudi() -> Callable[[list[dict[str, Tensor]]], Result]:
    from fusion_bench.method.wudi.wudi import wudi_merging

    @torch.enable_grad()
    def function(updates: list[dict[str, Tensor]]) -> Result:
        merged = wudi_merging(updates, accelerator="cpu", iter_num=WUDI_STEPS)
        return {layer: tensor.detach() for layer, tensor in merged.items()}

    return function


def fusion_emr() -> Callable[[list[dict[str, Tensor]]], Result]:
    from fusion_bench.method.emr_merging.utils import emr_merge

    return lambda updates: emr_merge(updates)[0]


def fusion_knots() -> Callable[[list[Tensor]], Tensor]:
    """Alignment of one layer, then TIES of the aligned parts."""
    from fusion_bench.method.knots.knots_utils import subspace_alignment
    from fusion_bench.method.ties_merging.ties_merging_utils import ties_merging

    def function(tensors: list[Tensor]) -> Tensor:
        U, S, parts = subspace_alignment(tensors)
        flat = torch.stack([(S[:, None] * part).flatten() for part in parts])
        return U @ ties_merging(flat, reset_thresh=20, merge_func="mean").view(len(S), -1)

    return function


def fusion_consensus() -> Callable[[list[Tensor]], Tensor]:
    """TALL masks of one layer, and the entries of the sum that at least two clients share."""
    from fusion_bench.method.tall_mask.utils import generate_task_masks

    def function(tensors: list[Tensor]) -> Tensor:
        flat = torch.stack([tensor.flatten() for tensor in tensors])
        masks = generate_task_masks(flat, flat, torch.zeros(flat.shape[1]), tall_mask_lambda=0.4)
        return (flat.sum(0) * (masks.sum(0) >= 2)).view_as(tensors[0])

    return function


def fusion_regmean(blocks: int, clients: int) -> Callable[[], Timed]:
    from fusion_bench.method.regmean.regmean import merging_with_regmean_weights

    updates = [deltas(client, blocks) for client in range(clients)]
    named = {f"{layer}.weight": [update[layer] for update in updates] for layer in updates[0]}
    grams = [{layer: gram(k, shape[1]) for layer, shape in layer_shapes(blocks).items()} for k in range(clients)]

    def call() -> Result:
        merged = merging_with_regmean_weights(named, grams, reduce_non_diagonal_ratio=0.95)
        return {name.removesuffix(".weight"): tensor for name, tensor in merged.items()}

    return lambda: call


def fusion_fisher(blocks: int, clients: int) -> Callable[[], Timed]:
    from fusion_bench.method.fisher_merging.fisher_merging import merging_with_fisher_weights

    updates = [deltas(client, blocks) for client in range(clients)]
    named = {layer: [update[layer] for update in updates] for layer in updates[0]}
    weights = [{layer: fisher(k, shape) for layer, shape in layer_shapes(blocks).items()} for k in range(clients)]
    return lambda: lambda: merging_with_fisher_weights(named, weights, torch.ones(clients) / clients, True, 1e-6)


# Which call stands next to which of our methods


@dataclass(frozen=True)
class Call:
    """One peer's call, and the method and options of ours that compute the same from the same kind of input.

    `blocks`: how many of the 12 are timed, the rest is multiplication (of calls that work layer by layer, or whose
    time is linear in the number of entries); `part`: the share of its steps that is timed.
    """

    name: str
    method: str
    input: str  # "factors" or "dense"
    prepare: Prepare
    options: Mapping[str, Any] = field(default_factory=dict)
    rank: int | None = None  # of the point: ours is cut back to it after the merge
    blocks: int = BLOCKS
    part: float = 1.0


WUDI_STEPS = 3  # of 300: hours for all blocks otherwise
WUDI_AS_PUBLISHED = {"solver": "adam", "lr": 1e-5, "absolute_lr": True, "steps": WUDI_STEPS, "average": "sum"}
FULL_SPACE = {"dense": True, "allow_ill_posed": True, "average": "sum"}
CAT = peft_adapters(combination_type="cat")
SVD, THIN = ({"combination_type": "svd", "svd_rank": RANK, "svd_full_matrices": full} for full in (True, False))
TRIM = {"weight": 1.0, "density": 0.9, "gamma": 0.01}
DROP = {"weight": 1.0, "density": 0.5}
MEAN = {"normalize": True}  # divides by the clients that agree, as ours does
DELLA = {"weight": 1.0, "density": 0.7, "epsilon": 0.15}

CALLS = (
    Call("peft cat", "mean", "factors", CAT),
    Call("peft cat", "stacking", "factors", CAT),
    Call("peft task_arithmetic", "mean", "dense", peft_function("task_arithmetic")),
    Call("mergekit linear", "mean", "dense", mergekit("linear", None, weight=1.0)),
    Call("peft svd", "mean", "factors", peft_adapters(**SVD), rank=RANK, blocks=1),
    Call("peft svd, thin", "mean", "factors", peft_adapters(**THIN), rank=RANK, blocks=1),
    Call("peft linear", "product_of_means", "factors", peft_adapters(combination_type="linear")),
    Call("mergekit linear, weighted", "weighted_mean", "dense", mergekit("linear", None, weight=COUNTS[:4])),
    Call("mergekit task_arithmetic", "sum", "dense", mergekit("task_arithmetic", weight=1.0, **{"lambda": 0.3})),
    Call("peft ties of A and of B", "ties_factors", "factors", apart("ties", 0.2)),
    Call("peft ties of updates", "ties", "dense", peft_function("ties", density=0.2), blocks=1),
    Call("mergekit ties", "ties", "dense", mergekit("ties", weight=1.0, density=0.2), blocks=1),
    Call("fusion-bench ties", "ties", "dense", fusion_ties, {"trim": "model", "kept": "inclusive"}),
    Call("peft dare_ties on A and B, another method", "dare_ties", "factors", apart("dare_ties", 0.5)),
    Call("peft magnitude_prune on A and B, another method", "magnitude", "factors", apart("magnitude_prune", 0.2)),
    Call("peft dare_linear", "dare", "dense", peft_function("dare_linear", density=0.5), blocks=3),
    Call("mergekit dare_linear", "dare", "dense", mergekit("dare_linear", **DROP), blocks=3),
    Call("peft dare_ties", "dare_ties", "dense", peft_function("dare_ties", density=0.5), blocks=3),
    Call("mergekit dare_ties", "dare_ties", "dense", mergekit("dare_ties", **DROP, **MEAN), blocks=3),
    Call("peft magnitude_prune", "magnitude", "dense", peft_function("magnitude_prune", density=0.2), blocks=1),
    Call("mergekit breadcrumbs", "breadcrumbs", "dense", mergekit("breadcrumbs", **TRIM), blocks=1),
    Call(
        "mergekit breadcrumbs_ties", "breadcrumbs_ties", "dense", mergekit("breadcrumbs_ties", **TRIM, **MEAN), blocks=1
    ),
    Call("mergekit della", "della", "dense", mergekit("della", **DELLA), blocks=1),
    Call("mergekit della_linear", "della_linear", "dense", mergekit("della_linear", **DELLA), blocks=1),
    Call("mergekit model_stock", "model_stock", "dense", mergekit("model_stock")),
    Call("mergekit sce", "sce", "dense", mergekit("sce")),
    Call("mergekit slerp", "slerp", "dense", mergekit("slerp", "first client", t=0.5)),
    Call("mergekit nuslerp", "nuslerp", "dense", mergekit("nuslerp", None, weight=1.0)),
    Call("mergekit karcher", "karcher", "dense", mergekit("karcher", None)),
    Call("mergekit multislerp", "multislerp", "dense", mergekit("multislerp", None, weight=1.0)),
    Call("fusion-bench emr", "emr", "dense", by_model(fusion_emr)),
    Call("fusion-bench tall masks", "consensus", "dense", by_layer(fusion_consensus)),
    Call(
        "fusion-bench knots", "knots", "dense", by_layer(fusion_knots), {"trim": "layer", "kept": "inclusive"}, blocks=1
    ),
    Call("fusion-bench tsv_m, full space", "tsv_m", "dense", by_model(fusion_tsv_m), blocks=1),
    Call("fusion-bench tsv_m, full space", "tsv_m", "dense", by_model(fusion_tsv_m), FULL_SPACE, blocks=1),
    Call("fusion-bench iso_c, full space", "iso_c", "dense", by_model(fusion_iso_c), blocks=1),
    Call("fusion-bench iso_c, full space", "iso_c", "dense", by_model(fusion_iso_c), FULL_SPACE, blocks=1),
    Call("fusion-bench iso_cts, full space", "iso_cts", "dense", by_model(fusion_iso_cts), blocks=1),
    Call("fusion-bench iso_cts, full space", "iso_cts", "dense", by_model(fusion_iso_cts), FULL_SPACE, blocks=1),
    Call("fusion-bench wudi", "wudi", "dense", by_model(fusion_wudi), blocks=1, part=WUDI_STEPS / 300),
    Call("fusion-bench wudi", "wudi", "dense", by_model(fusion_wudi), WUDI_AS_PUBLISHED, blocks=1),
    Call("fusion-bench regmean", "regmean", "dense", fusion_regmean, blocks=1),
    Call("fusion-bench fisher", "fisher", "dense", fusion_fisher, {"floor_unit": "absolute"}),
)


def run(spec: Mapping[str, Any]) -> dict[str, Any]:
    call = next(call for call in CALLS if call.name == spec["call"])
    with torch.no_grad():
        fresh = call.prepare(spec["blocks"], spec["clients"])
        numbers, result = measure(fresh, spec["repeats"], spec["budget"])
    numbers["seconds"] *= spec["of"] / spec["blocks"]
    package = versions("torch", call.name.split()[0])
    return numbers | {"timed": spec["blocks"], "sample": sample(result), "versions": package}


if __name__ == "__main__":
    answer(json.loads(sys.argv[1]), run)
