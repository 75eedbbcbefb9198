"""Synthetic clients, and everything that a merge method may declare to need, for the tests of the registry."""

import math
import zlib

import torch
from torch import Tensor

from sap.config import parse
from sap.merge._api import METHODS
from sap.update import Factors, Update, stacks

SHAPES = {"visual.a": (24, 16), "visual.b": (16, 28)}
COUNTS = {"art": 100, "cartoon": 30, "photo": 250, "sketch": 77, "quick": 60, "clip": 40, "real": 90}
RANK = 3


def make_client(seed, scale=1.0, shapes=SHAPES, rank=RANK) -> Update:
    rng = torch.Generator().manual_seed(seed)
    return Update(
        {
            layer: Factors(torch.randn(rank, n, generator=rng), scale * torch.randn(m, rank, generator=rng))
            for layer, (m, n) in shapes.items()
        }
    )


def make_clients(n=4) -> dict[str, Update]:
    """Unequal in direction, norm and sample count."""
    return {client: make_client(seed, scale=1 + seed / 2) for seed, client in enumerate(list(COUNTS)[:n])}


def cohort_size(name, options) -> int:
    """The number of clients that a method's own validity rule accepts: 4, or 2 (SLERP), or 7 (Bulyan)."""
    check = METHODS[name].check
    for n in (4, 2, 7):
        if not (check and check(n, options)):
            return n
    raise AssertionError(f"{name} accepts neither 2, 4 nor 7 clients")


class QuadraticJudge:
    """Stands for the anchors: its loss is half the squared distance to a target update, its logits are linear, its
    features bend: of linear ones the mean of the clients would always be the best."""

    def __init__(self, updates, pairs=6, width=5):
        one = next(iter(updates.values()))
        self.pairs, self.width, self.dtype = pairs, width, one.dense(next(iter(one))).dtype
        self.target = {layer: self._random(f"target {layer}", one.shape(layer)) for layer in one}

    def _random(self, name, shape) -> Tensor:
        rng = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        return torch.randn(shape, generator=rng, dtype=torch.float64).to(self.dtype)

    def loss(self, update) -> float:
        return self.gradients(update)[0]

    def gradients(self, update, objective="alignment"):
        assert objective in ("alignment", "entropy")
        parts = {layer: update.dense(layer) - target for layer, target in self.target.items()}
        return math.fsum(float((part.double() ** 2).sum()) for part in parts.values()) / 2, parts

    def logits(self, update) -> Tensor:
        flat = torch.cat([update.dense(layer).flatten() for layer in self.target])
        return (self._random("logits", (self.pairs**2, len(flat))) @ flat).reshape(self.pairs, self.pairs) / 10

    def features(self, update) -> Tensor:
        return self._features({layer: update.dense(layer) for layer in self.target})

    def _features(self, dense) -> Tensor:
        flat = torch.cat([dense[layer].flatten() for layer in self.target])
        rows = self._random("features", (self.pairs * self.width, len(flat)))
        return (rows @ flat / 30).tanh().reshape(self.pairs, self.width)

    def logits_of(self, features) -> Tensor:
        return features @ self._random("texts", (self.width, self.pairs)).to(features)

    def gradients_of(self, update, objective):
        dense = {layer: update.dense(layer).detach().requires_grad_() for layer in self.target}
        loss = objective(self._features(dense))
        return loss.item(), dict(zip(dense, torch.autograd.grad(loss, list(dense.values())), strict=True))


def extras_of(updates, needs) -> dict:
    """What `needs` asks for, made from client and layer names alone: need -> function of the layer."""
    clients = tuple(updates)
    one = updates[clients[0]]
    dtype = one.dense(next(iter(one))).dtype

    def random(kind, client, layer, shape) -> Tensor:
        rng = torch.Generator().manual_seed(zlib.crc32(f"{kind} {client} {layer}".encode()))
        return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)

    def gram(client, layer) -> Tensor:
        rows = random("gram", client, layer, (40, one.shape(layer)[1]))
        return rows.T @ rows / 40

    judge = QuadraticJudge(updates)
    made = {
        "rng": lambda layer: lambda name: torch.Generator().manual_seed(zlib.crc32(f"rng {name} {layer}".encode())),
        "gradient": lambda layer: lambda k: random("gradient", clients[k], layer, one.shape(layer)),
        "root": lambda layer: random("root", "server", layer, one.shape(layer)),
        "anchors": lambda layer: judge,
        "gram": lambda layer: lambda k: gram(clients[k], layer),
        "fisher": lambda layer: lambda k: random("fisher", clients[k], layer, one.shape(layer)) ** 2 + 0.01,
    }
    return {need: made[need] for need in sorted(needs) if need != "counts"}


def merge(name, updates, **options) -> Update:
    """Run a registered method with everything that it declared."""
    method = METHODS[name]
    parsed = parse(method.options, options, name)
    needs = method.needed(parsed)
    counts = {client: COUNTS.get(client, 50) for client in updates} if "counts" in needs else None
    return method.merge(stacks(updates, counts, extras_of(updates, needs)), parsed)


def assert_close(a, b, tolerance=1e-6):
    for layer in b:
        assert (a.dense(layer) - b.dense(layer)).abs().max() <= tolerance * b.dense(layer).abs().max(), layer
