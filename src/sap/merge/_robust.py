"""What the robust rules share: whole-model geometry, and order statistics of entries.

How many malicious clients f they tolerate, and what a null f stands for, is in `sap.validity`.
Geometry is that of the concatenated layers, from one (K, K) Gram in float64.
Every rule's result is an average of clients, perhaps shortened, or lies between their entries: the scale of the mean.
With three clients rules fall together: f = 1 leaves the middle value (median, trimmed mean) or the two clients that are
closest (MDA, MoNNA, mixing), and cannot tell the odd domain from a malicious client.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from sap.factors import Entry, Factors, inner, shape, tensors_of
from sap.merge._ops import weighted_sum
from sap.update import Stack

CHUNK = 2**16  # entries of one client that are worked on at a time: K of them stay in the cache


def client_names(stacks: Mapping[str, Stack]) -> tuple[str, ...]:
    """Names of the clients, in the order of every stack."""
    return stacks[next(iter(stacks))].clients


def subset(stack: Stack, chosen: Sequence[int]) -> Stack:
    """The clients at these positions, with their weights as they are."""
    clients = tuple(stack.clients[k] for k in chosen)
    return Stack(stack.layer, clients, stack.weights[list(chosen)], lambda k: stack.entry(chosen[k]), stack.low_rank)


def weighted_layer(stack: Stack, weights: Tensor) -> Entry:
    """Σ_k w_k ΔW_k of one layer without the clients of weight zero: they cost neither time nor rank."""
    chosen = weights.nonzero().flatten().tolist() or [0]
    return weighted_sum(subset(stack, chosen), weights[chosen])


def weighted_model(stacks: Mapping[str, Stack], weights: Tensor) -> dict[str, Entry]:
    """Σ_k w_k ΔW_k of every layer, weights (K,)."""
    return {layer: weighted_layer(stacks[layer], weights) for layer in stacks}


def mean_of(stacks: Mapping[str, Stack], chosen: Sequence[int]) -> dict[str, Entry]:
    """Mean of the clients at these positions."""
    weights = torch.zeros(len(client_names(stacks)), dtype=torch.float64)
    weights[list(chosen)] = 1 / len(chosen)
    return weighted_model(stacks, weights)


def gram(stacks: Mapping[str, Stack]) -> Tensor:
    """Inner products of whole models, (K, K) float64, symmetric bit for bit."""
    total = torch.stack([_layer_gram(stacks[layer]) for layer in stacks]).sum(0)
    total = (total + total.T) / 2
    total.diagonal().clamp_(min=0)
    return total


def squared_norms(stack: Stack) -> Tensor:
    """‖ΔW_k‖² of one layer, (K,) float64."""
    return torch.tensor([max(inner(entry, entry), 0.0) for entry in stack.entries()], dtype=torch.float64)


def norms(stacks: Mapping[str, Stack]) -> Tensor:
    """‖ΔW_k‖ of whole models, (K,) float64."""
    return torch.stack([squared_norms(stacks[layer]) for layer in stacks]).sum(0).sqrt()


def typical(lengths: Tensor) -> Tensor:
    """Median of lengths, the mean of the two middle ones: fewer than half of the clients cannot move it far."""
    return lengths.quantile(0.5)


def squared_distances(products: Tensor) -> Tensor:
    """‖x_i − x_j‖² from a Gram, (K, K), symmetric bit for bit."""
    squares = products.diagonal()
    return (squares[:, None] + squares[None, :] - 2 * products).clamp(min=0).fill_diagonal_(0)


def distances_from(products: Tensor, weights: Tensor) -> Tensor:
    """‖x_k − Σ_j w_j x_j‖ of every client from a Gram, (K,)."""
    cross = products @ weights
    return (weights @ cross - 2 * cross + products.diagonal()).clamp(min=0).sqrt()


def ascending(names: Sequence[str], *keys: Tensor) -> list[int]:
    """Positions from the smallest first key on; what agrees in nine digits goes by the next key, last by the name.

    So a choice among ties depends neither on the clients' order nor on rounding.
    """
    rounded = [[float(f"{value:.9g}") for value in key.tolist()] for key in keys]
    return sorted(range(len(names)), key=lambda k: (*(key[k] for key in rounded), names[k]))


def krum_scores(distances: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Sum of the squared distances to the nearest others, (K,), and those to the rest, nearest first, (K, ·)."""
    others = distances.clone().fill_diagonal_(torch.inf).sort(dim=1).values[:, :-1]
    return others[:, :neighbours].sum(1), others[:, neighbours:]


def krum_order(distances: Tensor, neighbours: int, names: Sequence[str]) -> list[int]:
    """Positions by Krum score, best first; among ties the next nearest client decides, last the name."""
    scores, rest = krum_scores(distances, neighbours)
    return ascending(names, scores, *rest.T)


def by_coordinate(stack: Stack, reduce: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Dense (m, n) of one layer, some rows at a time: `reduce(values, rows)` turns (K, rows, n) into (rows, n).

    `reduce` may overwrite the values. Rows of factors are multiplied out into the chunk that it gets, so no client ever
    lies in memory as a dense matrix.
    """
    clients = list(stack.entries())
    (m, n), like = shape(clients[0]), tensors_of(clients[0])[0]
    step = max(1, CHUNK // n)
    merged, chunk = like.new_empty(m, n), like.new_empty(len(clients), min(step, m), n)
    for start in range(0, m, step):
        rows = slice(start, min(start + step, m))
        values = chunk[:, : rows.stop - start]
        for value, entry in zip(values, clients, strict=True):
            if isinstance(entry, Factors):
                torch.mm(entry.B[rows], entry.A, out=value)
            else:
                value.copy_(entry[rows])
        merged[rows] = reduce(values, rows)
    return merged


def entrywise_median(values: Tensor, even: str = "middle") -> Tensor:
    """Median over the first axis, (K, ·) -> (·); `even`: mean of the two middle values, or the lower one."""
    low, high = (len(values) - 1) // 2, len(values) // 2
    if even == "lower" or low == high:
        return _sorted(values, (low,))[low]
    lines = _sorted(values, (low, high))
    return lines[low].add_(lines[high]).mul_(0.5)


def entrywise_trimmed_mean(values: Tensor, f: int) -> Tensor:
    """Mean over the first axis without the f smallest and the f largest, (K, ·) -> (·)."""
    ranks = range(f, len(values) - f)
    lines = _sorted(values, tuple(ranks))
    return _sum([lines[rank] for rank in ranks]).div_(len(ranks))


def entrywise_mean_around_median(values: Tensor, count: int) -> Tensor:
    """Mean over the first axis of the `count` values nearest to the median, (K, ·) -> (·).

    They are neighbours in sorted order. The window moves up past x[s] where x[s + count] is nearer, and once it stays
    it stays, as x[s] + x[s + count] grows with s. Of two values equally near the smaller one counts.
    """
    n = len(values)
    lines = _sorted(values, tuple(range(n)))
    twice_median = lines[(n - 1) // 2] + lines[n // 2]
    window = lines[:count]
    for s in range(n - count):
        nearer = lines[s] + lines[s + count] < twice_median
        window[s % count] = torch.where(nearer, lines[s + count], window[s % count])
    return _sum(window).div_(count)


def _sum(terms: list[Tensor]) -> Tensor:
    """Sum, written into the first term."""
    for term in terms[1:]:
        terms[0].add_(term)
    return terms[0]


def _layer_gram(stack: Stack) -> Tensor:
    """<ΔW_i, ΔW_j> of one layer, (K, K): from rK × rK products of stacked factors, or from chunks of rows."""
    if stack.low_rank:
        A = torch.cat([factors.A for factors in stack.factors]).double()
        B = torch.cat([factors.B for factors in stack.factors], dim=1).double()
        ranks = torch.tensor([factors.A.shape[0] for factors in stack.factors], device=A.device)
        owner = torch.eye(len(ranks), dtype=A.dtype, device=A.device).repeat_interleave(ranks, dim=0)
        return (owner.T @ ((B.T @ B) * (A @ A.T)) @ owner).cpu()
    clients = [stack.delta(k).flatten() for k in range(len(stack.clients))]
    total = clients[0].new_zeros(len(clients), len(clients), dtype=torch.float64)
    chunk = clients[0].new_empty(len(clients), CHUNK, dtype=torch.float64)
    for start in range(0, len(clients[0]), CHUNK):
        part = chunk[:, : len(clients[0]) - start]
        for row, client in zip(part, clients, strict=True):
            row.copy_(client[start : start + CHUNK])
        total.addmm_(part, part.T)
    return total.cpu()


def _sorted(values: Tensor, ranks: tuple[int, ...]) -> list[Tensor]:
    """Values along the first axis such that those at `ranks` stand where sorting puts them; overwrites `values`.

    A network of minima and maxima of whole lines, 25 to 35 times as fast as torch.sort along the first axis.
    """
    lines = list(values)
    spare = torch.empty_like(lines[0])
    for i, j, low, high in _network(len(lines), ranks):
        a, b = lines[i], lines[j]
        if low:
            torch.minimum(a, b, out=spare)
            if high:
                torch.maximum(a, b, out=b)
            lines[i], spare = spare, a
        else:
            torch.maximum(a, b, out=b)
    return lines


@lru_cache
def _network(n: int, ranks: tuple[int, ...]) -> tuple[tuple[int, int, bool, bool], ...]:
    """Comparators (i, j, minimum to i needed, maximum to j needed) of Batcher's merge exchange for n lines.

    Knuth, The Art of Computer Programming 3, 5.2.2, Algorithm M; what no line at `ranks` depends on is left out.
    """
    comparators = []
    top = p = 1 << max(n - 1, 1).bit_length() - 1
    while p:
        q, r, d = top, 0, p
        while True:
            comparators += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    needed, steps = set(ranks), []
    for i, j in reversed(comparators):
        if needed & {i, j}:
            steps.append((i, j, i in needed, j in needed))
            needed |= {i, j}
    return tuple(reversed(steps))
