"""Judge many updates with one loaded model: apply one, predict, restore, next."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from sap.clip.backbone import Backbone
from sap.clip.precision import resolve
from sap.clip.tower import above, below, first_adapted
from sap.data.store import Images
from sap.errors import MachineError, SapError, out_of_memory
from sap.update import Update

CACHE_BYTES = 2**31  # of test images (or what enters the first adapted block) in main memory

Head = Callable[[torch.Tensor], torch.Tensor]  # unit-norm image features (b, E) -> what is asked of them


@dataclass(frozen=True, eq=False)
class DomainImages:
    """Images of one `domain`: (N, H, W, 3) uint8 (memory-mapped), `rows` (n,) selects, labels (n,) int64."""

    images: np.ndarray | Images
    rows: np.ndarray
    labels: np.ndarray
    domain: str = ""


class Judge:
    """Class probabilities of the test images under any update of one backbone.

    `features` (C, E) are the frozen unit-norm text features; `precision` is "auto", "float32" or "bfloat16", see
    sap.clip.precision; `batch_size` changes speed and memory only, and is halved when the memory does not suffice.

    `first_block`: the first visual block that any of the updates changes, see sap.clip.tower. What enters it is then
    the same for all of them, so it is computed once and kept on the device. None keeps the images as the model takes
    them, and runs the whole tower each time. `cache_bytes` bounds what is kept; None is half of the GPU's free memory,
    CACHE_BYTES on the CPU.
    """

    def __init__(
        self,
        backbone: Backbone,
        features: torch.Tensor,
        logit_scale: float,
        batch_size: int,
        precision: str,
        first_block: int | None = None,
        cache_bytes: int | None = None,
    ):
        self.backbone = backbone
        self.features = features
        self.logit_scale = logit_scale
        self.batch_size = batch_size
        self.precision = resolve(features.device, precision, "evaluate.precision")
        self.first_block = first_block
        if cache_bytes is None:
            on_gpu = features.device.type == "cuda"
            cache_bytes = torch.cuda.mem_get_info(features.device)[0] // 2 if on_gpu else CACHE_BYTES
        self._cache_bytes = cache_bytes
        self._kept: dict[tuple[DomainImages, int], torch.Tensor] = {}  # (domain, first image) -> inputs of a batch

    def probabilities(self, test: DomainImages, update: Update | None) -> np.ndarray:
        """(n, C) float32 softmax of the logits with `update` applied; None is zero-shot."""
        return softmax(self.logits(test, update))

    def logits(self, test: DomainImages, update: Update | None, features: torch.Tensor | None = None) -> np.ndarray:
        """(n, C) float32 logit_scale · cos(v, t_c) with `update` applied; None is zero-shot.

        `features` (C, E) take the place of the frozen class texts, where a model brings its own.
        Raises SapError where the update is so large that a logit is not a number, and where the memory does not suffice
        for one image.
        """
        texts = self.features if features is None else features.to(self.features)
        return self._judged(test, update, lambda images: self.logit_scale * images @ texts.T)

    def image_features(self, test: DomainImages, update: Update | None) -> np.ndarray:
        """(n, E) float32 unit-norm image features, as the logits see them; errors as for `logits`."""
        return self._judged(test, update, lambda features: features)

    def forget(self) -> None:
        """Drop what is kept of the images so far: those to come are others."""
        self._kept.clear()

    @torch.inference_mode()
    def _judged(self, test: DomainImages, update: Update | None, head: Head) -> np.ndarray:
        if update is not None and self.first_block is not None:
            first = first_adapted(self.backbone.model, update)
            if first is None or first < self.first_block:
                raise ValueError(f"the update changes what lies below block {self.first_block}, which is kept")
        with update.applied(self.backbone.model) if update is not None else nullcontext():
            found = self._forward(test, head)
        if not np.isfinite(found).all():
            raise SapError(
                "the merged model predicts NaN: some update is too large to be used. "
                "Compare the adapters' norms, leave that client out, or lower the point's scale."
            )
        return found

    def _forward(self, test: DomainImages, head: Head) -> np.ndarray:
        """`head` of all images' features; starts again with half the batch where the memory does not suffice."""
        while True:
            try:
                starts = range(0, len(test.rows), self.batch_size)
                return np.concatenate([self._batch(test, start, head) for start in starts])
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            self.forget()  # after the handler: the error's traceback holds the batch that did not fit
            if self.features.device.type == "cuda":
                torch.cuda.empty_cache()
            if self.batch_size == 1:
                raise MachineError(
                    f"the memory of {self.features.device} does not suffice for one image. "
                    "Run fewer jobs on the device, or give the job more memory."
                )
            print(f"out of memory with {self.batch_size} images at once: going on with half", flush=True)
            self.batch_size //= 2

    def _batch(self, test: DomainImages, start: int, head: Head) -> np.ndarray:
        device, block = self.features.device, self.first_block
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            inputs = self._inputs(test, start)
            model = self.backbone.model
            features = model.encode_image(inputs, normalize=False) if block is None else above(model, inputs, block)
        features = functional.normalize(features.float(), dim=-1)
        return head(features).cpu().numpy()

    def _inputs(self, test: DomainImages, start: int) -> torch.Tensor:
        """What the model takes for the batch that starts at image `start`, or what enters the first adapted block."""
        if (test, start) in self._kept:
            return self._kept[test, start]
        inputs = self.backbone.normalise(test.images[test.rows[start : start + self.batch_size]])
        if self.first_block is not None:
            inputs = below(self.backbone.model, inputs, self.first_block)
        if sum(kept.nbytes for kept in self._kept.values()) + inputs.nbytes <= self._cache_bytes:
            self._kept[test, start] = inputs
        return inputs


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of (n, C) float32 logits as probabilities."""
    return torch.from_numpy(logits).softmax(1).numpy()
