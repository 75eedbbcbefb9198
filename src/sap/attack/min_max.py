"""Min-max and min-sum: the honest mean, moved as far as the honest clients' own distances can hide.

    ΔW = μ + γ · p,    p = −μ/‖μ‖ (unit), −σ (std) or −sign(μ) (sign), entry by entry but for the norm
    min_max    largest γ with max_i ‖ΔW − x_i‖²  ≤ max_{i,j} ‖x_i − x_j‖²
    min_sum    largest γ with Σ_i ‖ΔW − x_i‖²  ≤ max_i Σ_j ‖x_i − x_j‖²

Shejwalkar and Houmansadr, NDSS 2021; x_i the n honest clients, all layers in one vector. Both bounds are quadratic in γ
and hold at γ = 0, so γ is a root in closed form:

    min_max    min_i (−b_i + √(b_i² + a·(D − d_i))) / a,   a = ‖p‖², b_i = <p, μ − x_i>, d_i = ‖μ − x_i‖², D its bound
    min_sum    √((S − Σ_i d_i) / (n·a)),                   since Σ_i b_i = 0, S its bound

The authors' code bisects from γ = 10, which cannot pass 20, and bounds min_sum by the smallest of the sums, not the
largest as printed. A single honest client leaves γ = 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from sap.attack._api import Extras, attack
from sap.attack._honest import gram, mean_of, products, spread
from sap.config import option
from sap.update import Update

PAPER = "Shejwalkar and Houmansadr, NDSS 2021"


@dataclass(frozen=True)
class Options:
    deviation: str = option(
        "unit",
        "direction of the shift, against the honest mean: its unit vector, its spread, or its signs",
        choices=("unit", "std", "sign"),
    )


@attack("min_max", citation=PAPER, options=Options, needs={"honest"}, colludes=True)
def min_max(own: Update, honest: Mapping[str, Update], options: Options, extras: Extras) -> Update:
    """The honest mean, moved until it is as far from a client as the two most distant clients are."""

    def shift(square: float, along: Tensor, to_mean: Tensor, distances: Tensor) -> Tensor:
        room = square * (distances.max() - to_mean).clamp(min=0)
        return ((along**2 + room).sqrt() - along).min() / square

    return _shifted(honest, options.deviation, shift)


@attack("min_sum", citation=PAPER, options=Options, needs={"honest"}, colludes=True)
def min_sum(own: Update, honest: Mapping[str, Update], options: Options, extras: Extras) -> Update:
    """The honest mean, moved until it is as far from all clients together as the farthest client is."""

    def shift(square: float, along: Tensor, to_mean: Tensor, distances: Tensor) -> Tensor:
        return ((distances.sum(1).max() - to_mean.sum()).clamp(min=0) / (len(to_mean) * square)).sqrt()

    return _shifted(honest, options.deviation, shift)


def _shifted(honest: Mapping[str, Update], deviation: str, shift: Callable[..., Tensor]) -> Update:
    """μ + γ · p; `shift` gives γ from a, b (n,), d (n,) and the squared distances (n, n)."""
    mean = mean_of(honest)
    length = mean.norm()
    if length == 0:
        return mean
    direction = mean.scaled(-1 / length)
    if deviation == "std":
        direction = Update({layer: -spread(honest, mean, layer) for layer in mean})
    elif deviation == "sign":
        direction = Update({layer: -mean.dense(layer).sign() for layer in mean})
    square = direction.norm() ** 2
    if square == 0:
        return mean
    table, along = gram(honest), products(honest, direction)
    squares = table.diagonal()
    to_mean = squares - 2 * table.mean(1) + table.mean()
    distances = (squares[:, None] + squares[None, :] - 2 * table).clamp(min=0)
    gamma = float(shift(square, along.mean() - along, to_mean, distances))
    return mean.scaled(1 - gamma / length) if deviation == "unit" else mean + direction.scaled(gamma)
