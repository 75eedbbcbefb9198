"""What a client uploads of its own images beside its adapter: nobody checked it, so it is read without trust."""

from collections.abc import Mapping

from torch import Tensor

from sap.errors import SapError
from sap.factors import is_finite


def uploaded(found: Mapping[str, Tensor], client: str, name: str, shape: tuple[int, ...]) -> Tensor:
    """One tensor of a client's upload, float64. SapError unless it is there, finite, and of this shape."""
    given = found.get(name)
    if given is None or tuple(given.shape) != shape or not is_finite(given):
        got = "nothing" if given is None else f"shape {tuple(given.shape)}"
        raise refused(client, f"{name} must be there, finite and of shape {shape}, got {got}")
    return given.double()


def refused(client: str, what: str) -> SapError:
    """The error for an upload that cannot be what it says, with what to do."""
    return SapError(f"client '{client}': its {what}. Leave it out, or serve the point without these statistics.")
