"""Statistics of one client's model on images, for merging: input Grams and diagonal Fisher information per layer.

    gram     G = (1/R) Σ_rows x xᵀ                                 (n, n), x the layer's inputs, R = images × tokens
    fisher   F = (1/N) Σ_i (∂ log p(y_i | x_i) / ∂W)²,  y_i ~ p(· | x_i)          (m, n), entry by entry

at the effective weights W0 + ΔW. p is the softmax of logit_scale · cos(v, t_c) over the classes. With labels drawn from
the model's own prediction this is an unbiased estimate of the true Fisher information (one draw and one backward pass
per image, where Matena & Raffel, arXiv:2111.09832, sum over all classes); given labels make it the empirical Fisher.

Who may run this: a client on its own images, or the server on the anchors with a client's upload. Memory beside the
model: 8 n² bytes per layer for Grams (float64) and 4 m n for Fisher; 1.1 GB and 0.3 GB for ViT-B with all its layers.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sap.errors import SapError
from sap.factors import is_finite
from sap.io import seed_of
from sap.saliency.gradients import differentiable
from sap.update import Update

KINDS = ("gram", "fisher")


def client_statistics(
    backbone: Any,
    update: Update,
    pixels: Tensor | Iterable[Tensor],
    text_features: Tensor,
    logit_scale: float,
    labels: Tensor | None = None,
    kinds: Collection[str] = KINDS,
    batch_size: int = 32,
    seed: int = 0,
    where: str = "update",
) -> dict[str, Tensor]:
    """{"{layer}/gram": (n, n), "{layer}/fisher": (m, n)} float32 on the CPU, for the update's layers.

    `backbone`: a sap.clip Backbone; its weights, `.grad` and requires_grad are as before afterwards. `pixels`: model
    input (N, 3, H, W), or batches of it; `text_features` (C, E) of the classes; `labels` (N,): None draws them from the
    model's prediction, by a generator made from `seed`, the same whatever the batches. `kinds`: which of KINDS.
    Raises SapError, naming `where`, for no images, layers outside the visual tower and statistics that are not finite.
    """
    for layer in update:
        if not layer.startswith("visual."):
            raise SapError(
                f"{where}: layer {layer}: statistics exist for the visual tower only. Train visual layers only."
            )
    model, done = backbone.model, 0
    like = next(model.parameters())
    if isinstance(pixels, Tensor):
        pixels = pixels.split(batch_size) if len(pixels) else ()
    rng = torch.Generator().manual_seed(seed_of("fisher", seed))
    grams, squares = _Grams(model, update), dict[str, Tensor]()
    with update.applied(model):
        for batch in pixels:
            batch = batch.to(like)
            if "gram" in kinds:
                with torch.no_grad(), grams.watching():
                    backbone.image_features(batch)
                grams.add_attention()
            if "fisher" in kinds:
                given = None if labels is None else labels[done : done + len(batch)]
                _add_squares(squares, backbone, update, batch, text_features.to(like), logit_scale, given, rng)
            done += len(batch)
    if not done:
        raise SapError(f"{where}: there are no images to measure. Give at least one.")
    found = {f"{layer}/fisher": total.div_(done).float().cpu() for layer, total in squares.items()}
    for layer in list(grams.sums):  # one by one: the float64 sums of all layers are large
        found[f"{layer}/gram"] = grams.sums.pop(layer).div_(grams.rows[layer]).float().cpu()
    bad = [name for name, tensor in found.items() if not is_finite(tensor)]
    if bad:
        raise SapError(
            f"{where}: {bad[0]} is not finite, the update is too large to be used. "
            "Leave this client out or train it again."
        )
    return found


class _Grams:
    """Sums of x xᵀ of the inputs of a model's layers while images pass.

    nn.MultiheadAttention does not call its out_proj as a module, so no hook sees that input. The attention is therefore
    run once more on the same query with the identity in out_proj's place: what comes out is what went in.
    """

    def __init__(self, model: nn.Module, update: Update) -> None:
        self.sums: dict[str, Tensor] = {}
        self.rows: dict[str, int] = {}
        self._linear, self._attention = dict[Any, str](), dict[Any, dict[str, str]]()  # module -> its layers
        self._calls = dict[Any, tuple[Any, Any]]()
        for layer in update:
            path, _, name = layer.rpartition(".")
            owner = model.get_submodule(path)
            above = model.get_submodule(path.rpartition(".")[0])
            if name == "in_proj_weight":
                self._attention.setdefault(owner, {})["query"] = layer
            elif isinstance(above, nn.MultiheadAttention):
                self._attention.setdefault(above, {})["output"] = layer
            else:
                self._linear[owner] = layer

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sum the inputs of linear layers, and remember the calls of attentions, of one pass."""
        with ExitStack() as stack:
            for module in self._linear:
                handle = module.register_forward_pre_hook(lambda module, args: self._add(self._linear[module], args[0]))
                stack.callback(handle.remove)
            for module in self._attention:
                handle = module.register_forward_pre_hook(
                    lambda module, args, kwargs: self._calls.update({module: (args, kwargs)}), with_kwargs=True
                )
                stack.callback(handle.remove)
            yield

    @torch.no_grad()
    def add_attention(self) -> None:
        """Sum the inputs of the attentions' two layers in the remembered calls, and forget the calls."""
        for module, (args, kwargs) in self._calls.items():
            layers = self._attention[module]
            if "query" in layers:
                self._add(layers["query"], args[0])
            if "output" in layers:
                weight = module.out_proj.weight
                identity = {"out_proj.weight": torch.eye(*weight.shape, dtype=weight.dtype, device=weight.device)}
                if module.out_proj.bias is not None:
                    identity["out_proj.bias"] = torch.zeros_like(module.out_proj.bias)
                self._add(layers["output"], functional_call(module, identity, args, kwargs)[0])
        self._calls.clear()

    def _add(self, layer: str, inputs: Tensor) -> None:
        rows = inputs.detach().reshape(-1, inputs.shape[-1])
        gram = rows.T @ rows
        self.sums[layer] = self.sums[layer].add_(gram) if layer in self.sums else gram.double()
        self.rows[layer] = self.rows.get(layer, 0) + len(rows)


def _add_squares(
    sums: dict[str, Tensor],
    backbone: Any,
    update: Update,
    batch: Tensor,
    text_features: Tensor,
    logit_scale: float,
    labels: Tensor | None,
    rng: torch.Generator,
) -> None:
    """Add (∂ log p(y | x) / ∂W)² of every image of a batch to the running sums of the layers."""
    with torch.enable_grad(), differentiable(backbone.model, update) as weights:
        for i, image in enumerate(batch):
            logs = (logit_scale * backbone.image_features(image[None]) @ text_features.T).log_softmax(1)[0]
            label = _draw(logs, rng) if labels is None else int(labels[i])
            gradients = torch.autograd.grad(logs[label], list(weights.values()))
            for layer, gradient in zip(weights, gradients, strict=True):
                if layer not in sums:
                    sums[layer] = torch.zeros_like(gradient)
                sums[layer].addcmul_(gradient, gradient)


def _draw(logs: Tensor, rng: torch.Generator) -> int:
    """A class drawn from log-probabilities (C,): one uniform number per image, so batches do not matter."""
    ends = logs.detach().double().exp().cumsum(0).cpu()
    point = torch.rand((), generator=rng, dtype=torch.float64) * ends[-1]
    return min(int(torch.searchsorted(ends, point, right=True)), len(ends) - 1)
