"""The clients of one fold and what merges them; CLIP is imported only where a method reads the anchors themselves."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

import sap.finish
import sap.merge
import sap.prune  # noqa: F401  all three register their methods
from sap.compose import CACHE_BYTES, Composer, LazyGradients, LazyTensors
from sap.evaluate.counts import sample_count
from sap.io import load_tensors
from sap.plans import FoldPlan
from sap.saliency.anchors import AnchorLoss
from sap.saliency.gradients import alignment_gradients
from sap.update import Update, load_adapter

if TYPE_CHECKING:
    from sap.clip.backbone import Backbone


def load_composer(plan: FoldPlan, trained: Mapping[str, Update], backbone: "Backbone | None" = None) -> Composer:
    """What merges the clients of a fold at any point.

    `backbone` is loaded from the plan where None is given and a point's method reads the anchors themselves.
    """
    return composers(plan, trained, backbone)({}, None)


def by_recipe(plan: FoldPlan) -> Callable[[Mapping[str, Any]], Composer]:
    """Gives what merges the clients of a point's recipe, from its settings; the clients of a recipe are read once."""

    @cache
    def made(recipe: str | None) -> Composer:
        trained = plan.trained_by({"recipe": recipe} if recipe else {})
        return load_composer(trained, load_clients(trained))

    return lambda settings: made(settings.get("recipe"))


def composers(
    plan: FoldPlan, trained: Mapping[str, Update], backbone: "Backbone | None" = None, cache_bytes: int = CACHE_BYTES
) -> Callable[[Mapping[str, Update], Mapping[str, float] | None], Composer]:
    """Makes the Composer of a fold in which `replaced` clients upload something else, and weights are others.

    Gradients of what was replaced are computed from the anchors when a point asks for them; all others are read.
    `cache_bytes`: of unpruned merges that are kept between points.
    """
    counts = {name: sample_count(folder) for name, folder in plan.clients.items()}
    stored, statistics = _gradients(plan), statistics_of(plan)

    @cache
    def model() -> "Backbone":
        from sap.clip.backbone import load_backbone

        return backbone or load_backbone(plan.backbone)

    @cache
    def anchors(saliency: str, size: int) -> tuple[Tensor, Tensor]:
        found = load_tensors(Path(plan.anchors[saliency]) / "anchors.safetensors")
        return model().normalise(found["images"][:size]), found["tokens"][:size]

    @cache
    def judged(saliency: str, size: int, alignment: str) -> AnchorLoss:
        return AnchorLoss(model(), *anchors(saliency, size), alignment)

    def judge(settings: Mapping[str, Any]) -> AnchorLoss:
        return judged(settings["saliency"], settings["anchor_size"], settings["alignment"])

    def compose(replaced: Mapping[str, Update], weights: Mapping[str, float] | None) -> Composer:
        clients = {name: replaced.get(name, trained[name]) for name in plan.clients}

        @cache
        def computed(client: str, saliency: str, size: int, alignment: str, reduction: str) -> dict[str, Tensor]:
            pixels, tokens = anchors(saliency, size)
            found, _ = alignment_gradients(model(), clients[client], pixels, tokens, alignment, reduction, [size])
            return {name.removeprefix(f"{size}/"): tensor for name, tensor in found.items()}

        def gradients(settings: Mapping[str, Any], client: str) -> Mapping[str, Tensor]:
            if client not in replaced:
                return stored(settings, client)
            return computed(client, *(settings[n] for n in ("saliency", "anchor_size", "alignment", "reduction")))

        return Composer(
            clients, counts if weights is None else weights, gradients, plan.seed, statistics, judge, cache_bytes
        )

    return compose


def load_clients(plan: FoldPlan) -> dict[str, Update]:
    """The uploads of a plan's clients, without a backbone to check them against."""
    return {name: load_adapter(folder) for name, folder in plan.clients.items()}


def _gradients(plan: FoldPlan) -> Callable[[Mapping[str, Any], str], LazyGradients]:
    """Reader of the gradients that a point's settings ask for: (settings, client) -> {layer: tensor}."""

    @cache
    def opened(folder: str, size: int) -> LazyGradients:
        return LazyGradients(Path(folder) / "gradients.safetensors", size)

    def read(settings: Mapping[str, Any], client: str) -> LazyGradients:
        return opened(plan.gradients[settings["saliency"]][client], settings["anchor_size"])

    return read


def statistics_of(plan: FoldPlan) -> Callable[[Mapping[str, Any], str], Mapping[str, Tensor]]:
    """Reader of the statistics that a point's settings ask for: (settings, client) -> {"{layer}/{kind}": tensor}."""

    @cache
    def opened(folder: str) -> LazyTensors:
        return LazyTensors(Path(folder) / "statistics.safetensors")

    def read(settings: Mapping[str, Any], client: str) -> Mapping[str, Tensor]:
        files = (opened(plan.statistics[kind][client]) for kind in settings["measured"].values())
        return ChainMap(*files)  # type: ignore[arg-type]  # nobody writes into it

    return read
