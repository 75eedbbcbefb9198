"""Adapters in, adapter out, without the base model: what `workflow/scripts/merge.py ADAPTER ...` does.

Reads PEFT LoRA folders of any model, merges them as the workflow does (`sap.compose`), and writes the result as an
adapter, as an update, or added to a checkpoint. Clients are named after their folders, so their order never matters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import sap.merge
import sap.prune  # noqa: F401  both imports register their methods
from sap.compose import Composer
from sap.config import parse
from sap.errors import SapError, shown
from sap.export import write_adapter
from sap.factors import Entry, Factors, as_factors, shape
from sap.foreign import read_json
from sap.io import canonical, save_tensors, write_json
from sap.lowrank import truncate
from sap.merge._api import METHODS
from sap.output import check_folder
from sap.provenance import Clock, save_meta
from sap.realfile import real_file
from sap.setting import DEFAULTS
from sap.shared import describe, same_layers
from sap.update import Update, check_update, load_adapter, save_update

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CHECKPOINT_CONFIG = "open_clip_config.json"  # sap.clip.checkpoint.CONFIG_FILE, without importing open_clip


@dataclass(frozen=True)
class Request:
    """What to write, and what to allow of the adapters."""

    out: Path
    form: str = "adapter"  # adapter, delta or checkpoint
    rank: int | None = None  # best approximation by this rank; None keeps the merged update as it is
    base: Path | None = None  # the checkpoint that the update is added to
    missing: str = "refuse"  # or "zero": a layer that an adapter lacks counts as an update of zero
    any_base: bool = False  # merge adapters whose configs name different base models
    force: bool = False  # overwrite what lies in `out`, and delete what an earlier merge left there
    seed: int = 0


def merge_adapters(
    folders: Sequence[Path], weights: Sequence[float] | None, point: Mapping[str, Any], request: Request
) -> list[str]:
    """Merge adapter folders at a point (see `Composer.merge`), write the result, and return a summary's lines.

    `weights`: one per folder, in their order: sample counts or shares; None where the method does not read them.
    """
    clock = Clock()
    clients = name_clients(folders)
    _check_places(clients, request)
    stale = check_folder(request.out, _files(request), request.force)
    counts = _check_weights(list(clients), weights, point["merge"])
    updates = {name: load_adapter(folder) for name, folder in clients.items()}
    configs = {name: read_json(folder / CONFIG) for name, folder in clients.items()}
    base_model = _base_model(_named(configs, "base_model_name_or_path"), request.any_base)
    tasks = set(_named(configs, "task_type").values())
    updates, having = same_layers(updates, request.missing)
    merged, lost = _with_rank(Composer(updates, counts, seed=request.seed).merge(point), updates, request)
    norms = merged.norms()
    if not all(map(math.isfinite, norms.values())):
        raise SapError("the merged update is too large: its norm is no finite number. Lower --scale or leave one out.")

    try:
        request.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SapError(f"--out {request.out} cannot be made ({error}). Name another folder.") from error
    if request.form == "delta":
        save_update(request.out / "update.safetensors", merged, {"settings": canonical(dict(point))})
        load = f'sap.update.load_update("{request.out}/update.safetensors")'
    elif request.form == "adapter":
        write_adapter(request.out, merged, base_model, tasks.pop() if len(tasks) == 1 else None)
        load = f'PeftModel.from_pretrained(model, "{request.out}")'
    else:
        load = _write_checkpoint(request, merged)
    for path in stale:
        path.unlink()

    inputs = {f"{name}/{file}": folder / file for name, folder in clients.items() for file in (CONFIG, WEIGHTS)}
    settings: dict[str, Any] = {"point": dict(point), "weights": counts, "as": request.form, "rank": request.rank}
    settings |= {"missing": request.missing, "seed": request.seed}
    ranks = {layer: entry.A.shape[0] if isinstance(entry, Factors) else None for layer, entry in merged.items()}
    facts: dict[str, Any] = {
        "clients": sorted(clients),
        "base_model": base_model,
        "norms": norms,
        "ranks": ranks,
        "lost_energy": lost,
    }
    facts |= {"adapters_of_layer": having} if request.missing == "zero" else {}
    inputs |= {"base": _weights_file(request.base)} if request.base else {}
    meta = clock.meta("merge", settings, inputs, "", **facts)
    save_meta(request.out, meta, _files(request))
    return [
        f"merged {len(clients)} adapters: {', '.join(sorted(clients))}",
        f"method: {_settings(point['merge'])}" + _pruning(point),
        f"weights: {'equal' if counts is None else _settings(counts)}",
        f"layers: {describe(having, len(clients))}; ranks of the adapters: "
        f"{', '.join(_ranks(updates[name]) for name in sorted(updates))}",
        f"norm: adapters {', '.join(f'{updates[name].norm():.4g}' for name in sorted(updates))}; "
        f"merged {merged.norm():.4g} (λ = {point.get('scale', 1):g})",
        f"merged update: {'dense' if None in ranks.values() else f'rank {_ranks(merged)}'}, {_loss(lost)}",
        f"wrote {request.form} to {request.out} in {meta['seconds']:.1f} s{_deleted(stale)}; load it with",
        f"  {load}",
    ]


def name_clients(folders: Sequence[Path]) -> dict[str, Path]:
    """Client name -> folder. A name is the folder's, with as many parents as tell all of them apart."""
    paths = [Path(folder).resolve() for folder in folders]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise SapError(f"{twice[0]} is named twice. Name every adapter once; --weights can count one more than others.")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return {"/".join(path.parts[-depth:]): path for path in paths}


def _check_places(clients: Mapping[str, Path], request: Request) -> None:
    for folder in clients.values():
        if not folder.is_dir():
            raise SapError(f"{folder} is not a folder. Name a folder with {CONFIG} and {WEIGHTS}.")
        for file in (CONFIG, WEIGHTS):
            if not (folder / file).is_file():
                raise SapError(f"{folder} holds no {file}, so it is not a PEFT adapter that can be read safely.")
            real_file(folder / file)
    if request.rank is not None and request.rank < 1:
        raise SapError(f"--rank must be at least 1, got {request.rank}.")
    sources = [*clients.values()]
    if request.form == "checkpoint":
        base = _base(request)
        sources += [base.resolve(), _weights_file(base).resolve().parent]
    elif request.base is not None:
        raise SapError(f"--base is read only with --as checkpoint, not with --as {request.form}. Leave it out.")
    if request.out.resolve() in sources:
        raise SapError(f"--out {request.out} holds one of the inputs, which could be overwritten. Name another folder.")


def _check_weights(
    names: Sequence[str], weights: Sequence[float] | None, merge: Mapping[str, Any]
) -> dict[str, float] | None:
    """Client -> weight, or None; SapError where weights are wanted and missing, or given and not read."""
    settings = dict(merge)
    method = METHODS[settings.pop("method")]
    options = parse(method.options, settings, f"merge.{method.name}")
    chosen = getattr(options, "weights", "samples")
    reads = "counts" in method.needed(options)
    if weights is None:
        if reads:
            raise SapError(
                f"merge.{method.name} weighs the adapters. Add --weights: a number for each, in their order."
            )
        return None
    if not reads:
        step = "Add --set weights=samples." if chosen == "uniform" else "Leave them out, or choose weighted_mean."
        raise SapError(f"merge.{method.name} counts all adapters alike and would ignore --weights. {step}")
    if len(weights) != len(names) or not all(0 < weight < math.inf for weight in weights):
        raise SapError(f"--weights must be {len(names)} positive numbers, one for each adapter, got {list(weights)}.")
    return dict(zip(names, weights, strict=True))


def _named(configs: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, str]:
    """Client -> what its config says for `key`, where it says something."""
    return {name: configs[name][key] for name in sorted(configs) if isinstance(configs[name].get(key), str)}


def _base_model(named: Mapping[str, str], any_base: bool) -> str | None:
    """The base model that the adapters agree on; None where nobody names one, or where any will do."""
    if len(set(named.values())) <= 1:
        return next(iter(named.values()), None)
    if any_base:
        return None
    first, model = next(iter(named.items()))
    other = next(name for name in named if named[name] != model)
    raise SapError(
        f"adapter '{first}' was trained on {shown(model)}, adapter '{other}' on {shown(named[other])}. Merge adapters "
        "of one base model; if these are two names of the same, add --any-base."
    )


def _with_rank(merged: Update, updates: Mapping[str, Update], request: Request) -> tuple[Update, dict[str, Any] | None]:
    """(the update as it is written, the energy that its rank loses or None); an adapter's layers all become Factors.

    Without a rank a dense layer is refused, except where the clients' stacked factors hold no fewer numbers than the
    layer itself: there it is written whole.
    """
    if request.rank is None and request.form != "adapter":
        return merged, None
    entries, lost = {}, {}
    for layer, entry in merged.items():
        (m, n), stacked = shape(entry), sum(as_factors(update[layer]).A.shape[0] for update in updates.values())
        if request.rank is None and not isinstance(entry, Factors) and m * n > stacked * (m + n):
            raise SapError(
                f"the merged update is dense (layer {layer}), so no adapter of small rank holds it exactly. Add --rank "
                f"to approximate it (the adapters' ranks add up to {stacked}), or write it whole with --as delta."
            )
        entries[layer], lost[layer] = _factored(entry, request.rank or math.inf)
    if request.rank is None:
        return Update(entries), None
    energy = {layer: norm**2 for layer, norm in merged.norms().items()}
    worst = max(lost, key=lambda layer: lost[layer])
    total = math.fsum(lost[layer] * energy[layer] for layer in lost) / (math.fsum(energy.values()) or 1.0)
    return Update(entries), {"total": total, "worst": lost[worst], "worst_layer": worst}


def _factored(entry: Entry, rank: float) -> tuple[Factors, float]:
    """(factors of at most this rank, share of the energy that they lose); nothing is touched that need not be."""
    m, n = shape(entry)
    if isinstance(entry, Factors) and entry.A.shape[0] <= rank:
        return entry, 0.0
    if not isinstance(entry, Factors) and min(m, n) <= rank:
        eye = torch.eye(min(m, n), dtype=entry.dtype)
        return (Factors(eye, entry) if n <= m else Factors(entry, eye)), 0.0
    return truncate(entry, int(rank))


def _base(request: Request) -> Path:
    if request.base is None:
        raise SapError("--as checkpoint needs --base: the checkpoint that the merged update is added to.")
    return request.base


def _weights_file(base: Path) -> Path:
    """The weights of --base: the file itself, or those of a folder in open_clip's format."""
    file = base / "open_clip_model.safetensors" if base.is_dir() else base
    if not file.is_file():
        raise SapError(f"--base: {file} does not exist. Name a weights file, or a folder in open_clip's format.")
    return file


def _files(request: Request) -> list[str]:
    """Names of the files that a form consists of, beside meta.json."""
    if request.form == "adapter":
        return [CONFIG, WEIGHTS]
    if request.form == "delta":
        return ["update.safetensors"]
    base = _base(request)
    return [f"{_weights_file(base).stem}.safetensors"] + [CHECKPOINT_CONFIG] * base.is_dir()


def _write_checkpoint(request: Request, merged: Update) -> str:
    """Write the base with the update added, each weight in its own precision; returns how to load it."""
    from sap.clip.checkpoint import FLOATS, read_weights

    base = _base(request)
    file = _weights_file(base)
    weights = {name: tensor.clone() for name, tensor in read_weights(file).items()}  # tied ones share memory
    check_update(merged, {name: tuple(weight.shape) for name, weight in weights.items()}, str(file))
    for layer in merged:
        weight = weights[layer]
        if weight.dtype not in FLOATS:
            raise SapError(
                f"{file}: {layer} holds {weight.dtype}, and only floats can be added to. Name the unquantised."
            )
        precise = torch.promote_types(weight.dtype, torch.float32)
        weights[layer] = (weight.to(precise) + merged.dense(layer).to(precise)).to(weight.dtype)
    Update({layer: weights[layer] for layer in merged}).check_finite(f"{file} with the merged update", "Lower --scale.")
    target = request.out / _files(request)[0]
    save_tensors(target, weights)
    if not base.is_dir():
        return f'open_clip.create_model(MODEL, pretrained="{target}")'
    write_json(request.out / CHECKPOINT_CONFIG, read_json(base / CHECKPOINT_CONFIG))
    return f'open_clip.create_model("local-dir:{request.out}")'


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(str(value) if name == "method" else f"{name} {value}" for name, value in values.items())


def _pruning(point: Mapping[str, Any]) -> str:
    point = DEFAULTS | dict(point)
    pruning = {name: point[name] for name in ("prune_ratio", "space", "rescale")}
    return f"; pruned by {point['criterion']}: {_settings(pruning)}" if point["criterion"] != "none" else ""


def _ranks(update: Update) -> str:
    ranks = [as_factors(entry).A.shape[0] for entry in update.values()]
    return f"{min(ranks)}" + (f" to {max(ranks)}" if min(ranks) < max(ranks) else "")


def _deleted(stale: Sequence[Path]) -> str:
    return f" and deleted {', '.join(path.name for path in stale)} of an earlier merge" if stale else ""


def _loss(lost: Mapping[str, Any] | None) -> str:
    if lost is None or not lost["worst"]:
        return "exact"
    return f"loses {lost['total']:.2%} of its energy, at most {lost['worst']:.2%} in {lost['worst_layer']}"
