"""Registration of what can be judged: one function in one file, `fn(settings, fold) -> Served`.

`settings` are the point's, `fold` is what its clients uploaded. What comes back predicts the classes of images and says
what that costs; whoever judges it knows nothing else of it. A point's `kind` names the function.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from sap.config import NoOptions, parse, schema_of
from sap.factors import tensors_of
from sap.needs import SERVE_NEEDS, check_needs
from sap.registry import Registry
from sap.update import Update

READS = {
    "merge": "the merge of the point's settings: the uploads of all clients of the fold, their counts and seed",
    "clients": "the uploads of all clients of the fold, and their seed",
    "client": "the upload of the client that the settings name",
    "pooled": "the model that was trained on all source domains",
    "oracle": "the model that was trained on the target",
}
GROUPS = ("", "floor", "ceiling")
Settings = Mapping[str, Any]


class Judge(Protocol):
    """Runs the frozen model with an update applied to it (sap.evaluate.runner.Judge); None is the model as it is.

    features (C, E): the class texts' unit-norm features by the frozen text tower; logit_scale: the model's own;
    backbone: the frozen model itself (sap.clip), for what reads other texts.
    """

    backbone: Any
    features: Tensor
    logit_scale: float

    def logits(self, test: Any, update: Update | None, features: Any = None) -> np.ndarray:
        """(n, C) float32; `features` (C, E), unit-norm, of class texts that are not the frozen text tower's."""

    def probabilities(self, test: Any, update: Update | None) -> np.ndarray:
        """(n, C) float32 softmax of the logits."""

    def image_features(self, test: Any, update: Update | None) -> np.ndarray:
        """(n, E) float32, unit-norm."""


@dataclass(frozen=True)
class Fold:
    """The clients of one fold, and what can be asked of them.

    trained: by client, and "pooled" and "oracle" under those names, where the plan has them; merge: settings -> the
    merged update; client: settings -> the upload of one client; both under the settings' attack; facts: what became of
    an attack in a merge; anchor_loss: of an update, on the public anchors; statistics: (settings, client) -> what the
    client measured of its own images for the kind's needs, an upload that nobody checked; classes: the words for
    the classes, in label order; without: the fold in which the clients of a source domain are held out, too.
    """

    clients: tuple[str, ...]
    trained: Mapping[str, Update]
    merge: Callable[[Settings], Update]
    client: Callable[[Settings], Update]
    facts: Callable[[Settings, Update], dict[str, Any]]
    anchor_loss: Callable[[Update], float]
    statistics: Callable[[Settings, str], Mapping[str, Tensor]]
    classes: tuple[str, ...]
    without: Callable[[str], "Fold"]


@dataclass(frozen=True)
class Served:
    """What is judged: predict: (judge, test images) -> (n, C) float32 probabilities.

    passes: runs of the image tower for one image; parameters: numbers kept beside the backbone, none where one update
    goes into its weights; update: the one update behind it, if there is one; facts: more that its rows say.
    """

    predict: Callable[[Judge, Any], np.ndarray]
    passes: int = 1
    parameters: int = 0
    update: Update | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


Make = Callable[[Settings, Fold], Served]


@dataclass(frozen=True)
class Kind:
    """One kind and what it declared; see `served`."""

    name: str
    make: Make
    title: str
    reads: tuple[str, ...]
    options: type
    beside: int
    group: str
    images: str
    needs: tuple[str, ...]
    checked: str


KINDS: Registry[Kind] = Registry("kind of model")


def served(
    name: str,
    title: str,
    reads: tuple[str, ...] = (),
    options: type = NoOptions,
    beside: int = 0,
    group: str = "",
    images: str = "",
    needs: Collection[str] = (),
    checked: str = "",
) -> Callable[[Make], Make]:
    """Register a kind.

    title: its name in tables; reads: keys of READS; options: dataclass of `sap.config.option` fields, see `options_of`;
    beside: how many other points it is served with, see `beside_of`; group: of GROUPS, "floor" or "ceiling" for what is
    no method: a config names it in evaluate.references; images: whose images a ceiling was trained on; needs: of
    SERVE_NEEDS (see sap.needs), what each client measures of its own images: `fold.statistics`. Such a kind says in its
    facts how many numbers a client sends for it, "uploaded": the ledger's bytes. checked: what its values were compared
    with, a public repository and file or a closed form; shown in the docs.
    """
    if not set(reads) <= set(READS) or group not in GROUPS:
        raise TypeError(f"kind {name}: reads {reads!r} or group {group!r}; known are {', '.join((*READS, *GROUPS))}")
    check_needs(f"kind {name}", needs, SERVE_NEEDS)

    def register(make: Make) -> Make:
        declared = (title, reads, options, beside, group, images, tuple(sorted(needs)), checked)
        KINDS.add(name, Kind(name, make, *declared))
        return make

    return register


def options_of(settings: Settings) -> Any:
    """The options of a point's kind, as it declared them."""
    return parse(KINDS[settings["kind"]].options, settings.get("serve", {}), f"serve.{settings['kind']}")


def beside_of(settings: Settings, fold: Fold) -> list[Served]:
    """The other points that a point is served with, in its order."""
    return [KINDS[other["kind"]].make(other, fold) for other in settings["beside"]]


def own_merge(settings: Settings) -> Settings:
    """The settings of a point's own merge, without what it is served as: points that differ in that share it."""
    return {name: value for name, value in settings.items() if name not in ("serve", "beside")} | {"kind": "merge"}


def one(update: Update | None, **more: Any) -> Served:
    """One update in the model's weights; None is the frozen model."""
    return Served(lambda judge, test: judge.probabilities(test, update), update=update, **more)


def size_of(*served: Served | Update | None) -> int:
    """Numbers that are kept beside the backbone where all of these stay there."""
    total = 0
    for each in served:
        update = each.update if isinstance(each, Served) else each
        total += each.parameters if isinstance(each, Served) else 0
        total += sum(tensor.numel() for entry in (update or {}).values() for tensor in tensors_of(entry))
    return total


def describe() -> dict[str, dict[str, Any]]:
    """Name -> what was declared, as plain JSON."""
    return {
        kind.name: {
            "module": kind.make.__module__,
            "summary": (kind.make.__doc__ or "").strip().split("\n")[0],
            "title": kind.title,
            "reads": list(kind.reads),
            "options": schema_of(kind.options),
            "beside": kind.beside,
            "group": kind.group,
            "images": kind.images,
            "needs": list(kind.needs),
            "checked": kind.checked,
        }
        for kind in KINDS.values()
    }
