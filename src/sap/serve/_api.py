"""Registration of what can be judged: one function in one file, `fn(settings, fold) -> Served`.

`settings` are the point's, `fold` is what its clients uploaded. What comes back predicts the classes of images and says
what that costs; whoever judges it knows nothing else of it. A point's `kind` names the function.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sap.registry import Registry
from sap.update import Update

READS = {
    "clients": "the uploads of all clients of the fold, and their seed",
    "counts": "their sample counts",
    "client": "the upload of the client that the settings name",
    "pooled": "the model that was trained on all source domains",
    "oracle": "the model that was trained on the target",
}
Settings = Mapping[str, Any]


class Judge(Protocol):
    """Runs the frozen model with an update applied to it (sap.evaluate.runner.Judge); None is the model as it is."""

    def logits(self, test: Any, update: Update | None) -> np.ndarray:
        """(n, C) float32."""

    def probabilities(self, test: Any, update: Update | None) -> np.ndarray:
        """(n, C) float32 softmax of the logits."""


@dataclass(frozen=True)
class Fold:
    """The clients of one fold, and what can be asked of them.

    trained: by client, and "pooled" and "oracle" under those names, where the plan has them; merge: settings -> the
    merged update; client: settings -> the upload of one client; both under the settings' attack; facts: what became of
    an attack in a merge; anchor_loss: of an update, on the public anchors.
    """

    clients: tuple[str, ...]
    trained: Mapping[str, Update]
    merge: Callable[[Settings], Update]
    client: Callable[[Settings], Update]
    facts: Callable[[Settings, Update], dict[str, Any]]
    anchor_loss: Callable[[Update], float]


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


KINDS: Registry[Kind] = Registry("kind of model")


def served(name: str, title: str, reads: tuple[str, ...] = ()) -> Callable[[Make], Make]:
    """Register a kind: `title` is its name in tables where its points have none; `reads`: keys of READS."""
    if not set(reads) <= set(READS):
        raise TypeError(f"kind {name}: reads {reads!r}, known are {', '.join(READS)}")

    def register(make: Make) -> Make:
        KINDS.add(name, Kind(name, make, title, reads))
        return make

    return register


def one(update: Update | None, **more: Any) -> Served:
    """One update in the model's weights; None is the frozen model."""
    return Served(lambda judge, test: judge.probabilities(test, update), update=update, **more)


def describe() -> dict[str, dict[str, Any]]:
    """Name -> what was declared, as plain JSON."""
    return {
        kind.name: {
            "module": kind.make.__module__,
            "summary": (kind.make.__doc__ or "").strip().split("\n")[0],
            "title": kind.title,
            "reads": list(kind.reads),
        }
        for kind in KINDS.values()
    }
