"""What a method may ask for beside the clients' updates: one vocabulary for merge methods, criteria and attacks."""

from collections.abc import Iterable
from dataclasses import dataclass

ANCHORS, STATISTICS = "anchors", "statistics"  # what the server holds, and what each client measures for it

SERVE_NEEDS = ("moments", "failures", "curve")  # statistics that kinds of model read (sap.serve), and no merge


@dataclass(frozen=True)
class Need:
    """title: its name in the ledger; meaning: what it is, with shapes; source: ANCHORS or STATISTICS, else empty."""

    title: str
    meaning: str
    source: str = ""


NEEDS = {
    "counts": Need("sample counts", "shares by sample count; without this need all clients weigh the same"),
    "rng": Need("a random draw", "a torch.Generator on the CPU, seeded by the names of what it draws for"),
    "honest": Need("honest uploads", "the updates of all clients that do not attack"),
    "gradient": Need("anchor gradients", "(m, n), gradient of the anchor loss at the update's own weights", ANCHORS),
    "root": Need(
        "anchor gradient at zero-shot",
        "(m, n), minus the gradient of the anchor loss at zero-shot: the server's own step",
        ANCHORS,
    ),
    "anchors": Need("anchor loss of merged models", "of any update, see sap.saliency.anchors", ANCHORS),
    "gram": Need(
        "Gram matrices", "(n, n), mean Gram XᵀX / rows of the layer's inputs in the client's own model", STATISTICS
    ),
    "fisher": Need(
        "diagonal Fisher information", "(m, n), diagonal Fisher information of the client's own model", STATISTICS
    ),
    "moments": Need(
        "class moments",
        "counts (C,), sums (C, E) by class and sum of squares x xᵀ (E, E) of the frozen features of a client's images",
        STATISTICS,
    ),
    "failures": Need(
        "failure sets",
        "count, sum (1, E) and sum of squares (E, E) of the frozen features of those images that zero-shot has wrong "
        "and the client's own model right",
        STATISTICS,
    ),
    "curve": Need(
        "accuracy curves",
        "(L,), accuracy of a client's own update times each λ on its validation images in other styles",
        STATISTICS,
    ),
}


def from_source(source: str, needs: Iterable[str]) -> list[str]:
    """Those of `needs` that are read or measured from `source`, sorted."""
    return sorted(need for need in needs if NEEDS[need].source == source)


def check_needs(what: str, needs: Iterable[str], allowed: Iterable[str]) -> None:
    """TypeError where a registration asks for what its kind of method is never given."""
    if not set(needs) <= set(allowed):
        raise TypeError(f"{what}: needs must be among {tuple(allowed)}, was {sorted(needs)}")
