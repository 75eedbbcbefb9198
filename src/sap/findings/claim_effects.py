"""Which effects each claim rests on. Every function gives a claim's parts, or says why they cannot be had."""

import json

import numpy as np

from sap.findings.attack_control import control
from sap.findings.claim_points import NotTestable, find, reference, sap_point, unpruned_mean, variant
from sap.findings.selection import families, selected_correct
from sap.report.effects import difference, paired
from sap.report.frame import Results
from sap.report.outcomes import Array, draws_of, whole
from sap.stages.compare_masks.exhibits import masks_effect
from sap.stages.compare_towers.exhibits import towers_effect
from sap.stages.probe.exhibits import probe_effect
from sap.stats.bed import kind_of_bed
from sap.stats.effect import DIFFERENCES, Effect, crossed_effect, p_above, p_below
from sap.stats.ties import at_least, largest, snapped
from sap.stats.verdict import Part

NEGLIGIBLE_ROOM = 0.02  # a share of accuracy: less room than this above zero-shot is none
HALFWAY = 0.5  # C6: from chance (0) to identical masks (1)
CONTROL = 0.30  # C7: how far an all-wrong client must fall below zero-shot on its own domain to count as an attack


# --- the claims ------------------------------------------------------------------------------------------------


def towers(results: Results) -> list[Part]:
    """C1."""
    if results.files["compare_towers", "towers"].empty:
        raise NotTestable("no client was trained with LoRA on both towers (evidence.towers)")
    return [Part("sign conflict, visual − text", towers_effect(results), "greater", margin(results))]


def plain_merging(results: Results) -> list[Part]:
    """C2."""
    mean = unpruned_mean(results)
    best = best_client(results, mean)
    return [
        Part("mean − zero-shot", difference(results, mean, reference(results, "zero_shot")), "less", margin(results)),
        Part("mean − best client", best, "less", margin(results)),
    ]


def style(results: Results) -> list[Part]:
    """C3."""
    points = results.points[results.points["stages"].map(lambda stages: "probe" in stages)]
    if points.empty:
        raise NotTestable("the experiment has no points of the stage probe")

    def at(criterion: str, ratio: float | None) -> str:
        chosen = points[(points["criterion"] == criterion) & (points["attack"] == "")]
        if ratio is not None:
            chosen = chosen[(chosen["prune_ratio"] == ratio) & (chosen["control"] == "restored")]
        if chosen.empty:
            raise NotTestable(f"the stage probe lacks {criterion} pruning at the mean's layer norms")
        return chosen.index[0]

    taylor = points[(points["criterion"] == "taylor_absolute") & (points["control"] == "restored")]
    if taylor.empty:
        raise NotTestable("the view probe lacks taylor_absolute pruning at the mean's layer norms")
    ratio = taylor["prune_ratio"].max()
    sap, plain, random = at("taylor_absolute", ratio), at("none", None), at("random", ratio)
    return [
        Part("domain, SAP − unpruned", probe_effect(results, sap, plain, "domain"), "less", margin(results)),
        Part("domain, SAP − random mask", probe_effect(results, sap, random, "domain"), "less", margin(results)),
        Part("class, SAP − unpruned", probe_effect(results, sap, plain, "class"), "within", margin(results)),
    ]


def beats_unpruned(results: Results) -> list[Part]:
    """C4."""
    effect = difference(results, sap_point(results), unpruned_mean(results))
    return [Part("SAP − mean", effect, "greater", margin(results))]


def beats_blind(results: Results) -> list[Part]:
    """C5."""
    sap = sap_point(results)
    ratio = results.points.loc[sap, "prune_ratio"]
    magnitude = variant(results, sap, f"magnitude pruning at ρ = {ratio:g}", criterion="magnitude")
    points = results.points
    kept = points["merge_key"].map(lambda key: _robustmerge_keeps(key, 1 - ratio))
    if not (kept & (points["attack"] == "")).any():
        raise NotTestable(f"the experiment has no robustmerge that keeps {1 - ratio:g} of the entries")
    robust = points.index[kept & (points["attack"] == "")][0]
    return [
        Part("SAP − magnitude", difference(results, sap, magnitude), "greater", margin(results)),
        Part("SAP − RobustMerge", difference(results, sap, robust), "greater", margin(results)),
    ]


def few_anchors(results: Results) -> list[Part]:
    """C6."""
    sap = sap_point(results)
    ratio = results.points.loc[sap, "prune_ratio"]
    if results.files["compare_masks", "masks"].empty or results.files["compare_masks", "masks"]["draw_a"].nunique() < 2:
        raise NotTestable("masks were not compared over anchor draws (evidence.masks, points with several anchor_draw)")
    chance = (1 - ratio) / (1 + ratio)
    agreement = moved(masks_effect(results, ratio), 1 / (1 - chance), -HALFWAY)
    sizes = [variant(results, _swept(results), f"sweep at {size} anchors", anchor_size=size) for size in (16, 32)]
    return [
        Part("mask agreement − halfway", agreement, "greater", margin(results)),
        Part("accuracy, 16 − 32 anchors", difference(results, *sizes), "within", margin(results)),
    ]


def harmless_attack(results: Results) -> list[Part]:
    """C7."""
    points = results.points
    whole = (points["attack"] == "derangement 100 %") & (points["attackers"].map(len) == 1)
    alone = points.index[whole & (points["kind"] == "client")]
    merged = points.index[whole & (points["merge"] == "mean") & (points["criterion"] == "none")]
    if not len(merged):
        raise NotTestable("the experiment has no plain mean with one deranged client")
    if not len(alone):
        raise NotTestable(
            "no deranged client was judged alone (judged_on: everyone): the attack has no positive control"
        )
    drop, _ = control(results, {results.points.loc[point, "attackers"]: point for point in alone})
    if np.isnan(drop.estimate):
        raise NotTestable("rows of the deranged clients alone are missing, so the attack has no positive control")
    if not drop.low > 0 or not at_least(drop.estimate, CONTROL):
        raise NotTestable(
            f"the attack has no teeth: a deranged client alone falls {100 * drop.estimate:.1f} points below zero-shot "
            f"on its own domain, {100 * CONTROL:g} were asked for"
        )
    clean = unpruned_mean(results)
    cells = []
    for target in results.targets:
        # Attackers of one fold meet the same images: they are averaged, not counted as more of them.
        each = whole(paired(results, [point], [clean], target) for point in merged if _judged(results, point, target))
        if not each:
            raise NotTestable("rows of the attacked mean are missing")
        cells.append(np.mean(each, axis=0))
    return [Part("attacked mean − clean mean", crossed_effect(cells, DIFFERENCES), "within", margin(results))]


def no_room(results: Results) -> list[Part]:
    """C8."""
    start = reference(results, "zero_shot")
    return [
        Part(
            f"{kind} − zero-shot, less {100 * NEGLIGIBLE_ROOM:g} points",
            moved(difference(results, reference(results, kind), start), 1, -NEGLIGIBLE_ROOM),
            "less",
            margin(results),
        )
        for kind in ("pooled", "oracle")
    ]


def rescaling(results: Results) -> list[Part]:
    """C9."""
    sap = sap_point(results)
    if results.points.loc[sap, "rescale"] == "none":
        raise NotTestable("the first SAP point of the main table does not rescale")
    effect = difference(results, sap, variant(results, sap, "SAP without rescaling", rescale="none"))
    name = "SAP rescaled − not rescaled"
    return [
        Part(f"{name}, gain", effect, "greater", margin(results)),
        Part(f"{name}, loss", effect, "less", margin(results)),
    ]


def beyond_shrinkage(results: Results) -> list[Part]:
    """C10."""
    sap = sap_point(results)
    control = variant(results, sap, "shrinkage control of SAP", control="shrunk")
    same = {"rescale": "none", "control": "restored"}
    ours = variant(results, sap, "SAP at the mean's layer norms", **same)
    random = variant(results, sap, "random mask at the mean's layer norms", criterion="random", **same)
    mean = unpruned_mean(results)
    paths = [family for family in families(results).values() if family.symbol == "λ" and mean in family.points]
    selected = selected_correct(results, paths[0], "client") if paths else None
    if selected is None:
        raise NotTestable("the experiment has no candidates of λ (view selection)")
    return [
        Part("SAP − mean at its norms", difference(results, sap, control), "greater", margin(results)),
        Part("SAP − mean at the selected λ", against(results, sap, selected), "greater", margin(results)),
        Part("SAP − random mask", difference(results, ours, random), "greater", margin(results)),
    ]


# --- what they share -------------------------------------------------------------------------------------------


def margin(results: Results) -> float:
    """Smallest effect of interest, a share."""
    return results.plan.margin


def moved(effect: Effect, factor: float, shift: float) -> Effect:
    """The effect of factor · x + shift, factor > 0."""
    new = effect._replace(
        estimate=factor * effect.estimate + shift,
        low=factor * effect.low + shift,
        high=factor * effect.high + shift,
        se=factor * effect.se,
        detectable=factor * effect.detectable,
    )
    return new._replace(p_greater=p_above(new, 0.0), p_less=p_below(new, 0.0))


def room_above_zero_shot(results: Results) -> Effect | None:
    """The larger of pooled and oracle minus zero-shot; None where neither was judged."""
    found = []
    for kind in ("pooled", "oracle"):
        for point in results.of_kind(kind):
            found.append(difference(results, point, reference(results, "zero_shot")))
    found = [effect for effect in found if not np.isnan(effect.estimate)]
    return found[largest({place: effect.estimate for place, effect in enumerate(found)})] if found else None


def bed(results: Results) -> str:
    """The kind of bed (sap.stats.bed) by the main table's pooled model; empty where it was not judged."""
    for point in results.of_kind("pooled"):
        return kind_of_bed(difference(results, point, reference(results, "zero_shot")))
    return ""


def best_client(results: Results, point: str) -> Effect:
    """`point` minus the best client of each fold, where best is judged at the other seeds: no image is used twice."""
    clients = {results.points.loc[name, "client"]: name for name in results.of_kind("client")}
    cells = []
    for target in results.targets:
        names = [clients.get(client) for client in results.folds.get((target, results.seeds[0]), ())]
        found = whole(results.outcomes.correct(name, target) for name in names if name)
        ours = results.outcomes.correct(point, target)
        if not found or ours is None:
            raise NotTestable("single clients were not judged on the targets")
        means = np.stack([array.mean(axis=1) for array in found])  # (K, S)
        seeds = means.shape[1]
        others = (means.sum(axis=1, keepdims=True) - means) / max(1, seeds - 1) if seeds > 1 else means
        best = np.stack([found[k][seed] for seed, k in enumerate(snapped(others).argmax(axis=0))])
        cells.append((ours - best)[None])
    return crossed_effect(cells, DIFFERENCES)


def against(results: Results, point: str, correct: list[Array]) -> Effect:
    """`point` on all its anchor draws minus given (1, S, n) correctness per target."""
    cells = []
    for target, other in zip(results.targets, correct, strict=True):
        ours = whole(results.outcomes.correct(draw, target) for draw in draws_of(results.points, point))
        if ours is None:
            raise NotTestable("rows of SAP are missing")
        cells.append(np.stack(ours) - other)
    return crossed_effect(cells, DIFFERENCES)


def _judged(results: Results, point: str, target: str) -> bool:
    return results.outcomes.correct(point, target) is not None


def _swept(results: Results) -> str:
    """A point of the sweep at SAP's ρ."""
    ratio = results.points.loc[sap_point(results), "prune_ratio"]
    return find(
        results, f"sweep of anchor sizes at ρ = {ratio:g}", merge="mean", criterion="taylor_absolute",
        prune_ratio=ratio, rescale="none", control="none", scope="layer", space="delta", anchor_draw=0,
    )  # fmt: skip


def _robustmerge_keeps(key: object, share: float) -> bool:
    if not isinstance(key, str):
        return False
    merge = json.loads(key)
    return merge["method"] == "robustmerge" and merge["variant"] == "paper" and abs(merge["keep"] - share) < 1e-9
