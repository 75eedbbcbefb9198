"""What becomes of one layer's entries, K clients one after another: their sum, or TIES's election of a sign.

The clients' tensors are taken from an iterator and dropped, so that one of them is in memory at a time.
"""

from collections.abc import Iterable
from itertools import repeat

import torch
from torch import Tensor

ENTRIES = 2**18  # of a layer at a time, so that intermediate results stay in the processor's cache


def by_sum(parts: Iterable[Tensor], average: str = "mean") -> Tensor:
    """Σ_k T_k, (m, n); divided by K where `average` is "mean"."""
    for n_clients, part in enumerate(parts, start=1):
        if n_clients == 1:
            total = torch.zeros_like(part)
        total.add_(part)
    return total.div_(n_clients) if average == "mean" else total


def by_sign(
    parts: Iterable[Tensor],
    elect: str = "total",
    average: str = "mean",
    votes: Iterable[float] | None = None,
    shares: Iterable[float] | None = None,
    heads: Iterable[float] | None = None,
    undecided: int = 1,
) -> Tensor:
    """Elect a sign per entry, then merge the clients that agree with it, (m, n).

    σ   = + where Σ_k v_k T_k > 0, − where it is < 0, else `undecided`; `elect` "frequency": of the signs of T_k
    ΔW* = Σ_k w_k T_k [sign T_k = σ] / Σ_k h_k [sign T_k = σ], 0 where nobody agrees

    v `votes`, w `shares` and h `heads` are 1 unless given. `average` "sum" does not divide, "max" takes the largest
    |w_k T_k| of those that agree. An `undecided` of 0 counts as −, and gives 0 under "max", as the authors of TIES do.
    """
    totals: list[Tensor] = []
    for part, vote, share, head in zip(
        parts, votes or repeat(1), shares or repeat(1), heads or repeat(1), strict=False
    ):
        if not totals:
            totals = [torch.zeros_like(part) for _ in range(5 if average == "mean" else 3)]
        for piece, won, plus, minus, *counts in zip(*map(_pieces, (part, *totals)), strict=True):
            signs = piece.sign()
            won.add_(signs if elect == "frequency" else piece, alpha=vote)
            if average == "max":
                torch.maximum(plus, piece * share, out=plus)
                torch.minimum(minus, piece * share, out=minus)
            else:
                plus.add_(piece.clamp(min=0), alpha=share)
                minus.add_(piece.clamp(max=0), alpha=share)
            if counts:
                counts[0].add_(signs.clamp(min=0), alpha=head)
                counts[1].sub_(signs.clamp_(max=0), alpha=head)
    tiny = torch.finfo(totals[0].dtype).tiny  # nobody agrees: 0 / tiny = 0
    for won, plus, minus, *counts in zip(*map(_pieces, totals), strict=True):
        if counts:
            plus.div_(counts[0].clamp_(min=tiny))
            minus.div_(counts[1].clamp_(min=tiny))
        if undecided == 0 and average == "max":
            minus.mul_(won != 0)
        torch.where(won >= 0 if undecided > 0 else won > 0, plus, minus, out=won)
    return totals[0]


def balance(parts: Iterable[Tensor], votes: Iterable[float] | None = None) -> int:
    """How many entries of Σ_k v_k T_k are positive, less those that are negative; v is 1 unless given."""
    for client, (part, vote) in enumerate(zip(parts, votes or repeat(1), strict=False)):
        if client == 0:
            total = torch.zeros_like(part)
        total.add_(part, alpha=vote)
    return int(total.sign().sum(dtype=torch.int64))


def _pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    """Some rows at a time, as views."""
    return tensor.split(max(1, ENTRIES // max(1, tensor.shape[1])))
