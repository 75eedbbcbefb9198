"""LoRM: RegMean for factors. With one factor shared, the best other factor has a closed form.

    B step, shared A    B* = (Σ_k B_k K_k)(Σ_k K_k)^-1,  K_k = A G_k Aᵀ (r, r)      ΔW* = B* A   (m, n), rank r
    A step, shared B    A* = (Σ_k A_k G_k)(Σ_k G_k)^-1                              ΔW* = B A*   (m, n), rank r
    nothing shared      RegMean on the products, as the authors merge across tasks; rank Σ r_k

Salami et al., ICLR 2025, arXiv:2410.17961 (aimagelab/fed-mammoth `_models/lorm.py`, `regmean.py`). The step follows
from what the clients share (within 1e-6 of the largest entry; A first); `shared` insists on one factor. A shared B
makes RegMean on the products the A step; a shared A does not make it the B step, whose result stays in A's row space.
Grams are shrunk towards their diagonal, α G + (1 − α) diag(G); the authors' runs send the diagonal of the backbone's
(α = 0, the default). For the B step K_k is all that the server needs:
`projected` says that clients send it instead of the Gram.

Departures: Grams are means per token, so every client counts the same (the authors' are sums over tokens); a ridge
within each Gram, see `sap.merge._grams`, where they take a pseudo-inverse; one round, where they alternate the steps.
"""

from dataclasses import dataclass

from torch import Tensor

from sap.config import option
from sap.errors import SapError
from sap.factors import Entry, Factors
from sap.merge._api import merge_method
from sap.merge._grams import regress, ridged, shrunk, solved, times
from sap.update import Stack
from sap.validity import one_shared_factor

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Options:
    alpha: float = option(0.0, "share of the Grams' off-diagonal that counts; 0 is diagonal Grams", low=0, high=1)
    projected: bool = option(False, "clients send r × r Grams of A's outputs instead; A must be shared")
    shared: str | None = option(
        None, "A or B: the factor that all clients must share; null takes what is", pattern="^[AB]$"
    )
    ridge: float = option(1e-6, "added to every Gram's diagonal, in units of the mean diagonal entry", low=0)


def _uploads(options: Options, m: int, n: int, r: int) -> int:
    if options.projected:
        return r * r
    return n if options.alpha == 0 else n * n


@merge_method(
    "lorm",
    paper="arXiv:2410.17961",
    family="statistics",
    options=Options,
    space="factors",
    needs={"gram"},
    check=one_shared_factor,
    uploads=_uploads,
)
def lorm(stack: Stack, options: Options) -> Entry:
    """LoRM: closed form of one LoRA factor where the clients share the other, from Grams."""
    wanted = "A" if options.projected else options.shared
    odd = {name: _odd_client(stack, name) for name in "AB"}
    if wanted and odd[wanted]:
        trained = "B" if wanted == "A" else "A"
        raise SapError(
            f"merge.lorm: layer {stack.layer} needs one {wanted} for all clients, but that of client '{odd[wanted]}' "
            f"differs from client '{stack.clients[0]}'. Train with train.lora.factors {trained} and train.lora.start "
            "shared, or merge without `shared` and `projected`."
        )
    if odd["A"] is None and wanted != "B":
        return _b_step(stack, options.alpha, options.ridge)
    if odd["B"] is None:
        A = solved(stack, lambda k: stack.factors[k].A, options.alpha, options.ridge, summed=True)
        return Factors(A, stack.factors[0].B)
    return regress(stack, options.alpha, options.ridge)


def _b_step(stack: Stack, alpha: float, ridge: float) -> Factors:
    A = stack.factors[0].A
    wide = A.double()
    plain = right = total = wide.new_zeros(())
    for client, factors in enumerate(stack.factors):
        gram = shrunk(stack.extras["gram"](client).to(A.device), alpha)
        K = times(wide, gram) @ wide.T
        B = factors.B.double()
        plain, right, total = plain + B, right + B @ K, total + K
    return Factors(A, ridged(right, plain, total, ridge, stack).to(A.dtype))


def _odd_client(stack: Stack, name: str) -> str | None:
    """The first client whose factor is not that of the first client; None where all share it."""
    first: Tensor = getattr(stack.factors[0], name)
    allowed = TOLERANCE * float(first.abs().max())
    for client, factors in zip(stack.clients, stack.factors, strict=True):
        other = getattr(factors, name)
        if other is not first and (other.shape != first.shape or float((other - first).abs().max()) > allowed):
            return client
    return None
