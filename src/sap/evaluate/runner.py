"""Judge many points with one loaded model: apply an update, predict, restore, next."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sap.clip.backbone import Backbone
from sap.clip.precision import resolve
from sap.clip.tower import above, below, first_adapted
from sap.errors import MachineError, SapError, out_of_memory
from sap.evaluate.rows import VALIDATION, row_domains
from sap.failures import sentence_of, writable
from sap.plans import FoldPlan, PointPlan
from sap.update import Update

CACHE_BYTES = 2**31  # of test images (or what enters the first adapted block) in main memory

Head = Callable[[torch.Tensor], torch.Tensor]  # unit-norm image features (b, E) -> what is asked of them

ENSEMBLES = {  # the clients' (K, n, C) logits -> probabilities: the function space answer to a merge
    "ensemble": lambda each: np.mean([softmax(logits) for logits in each], axis=0, dtype=np.float32),
    "ensemble_logits": lambda each: softmax(np.mean(each, axis=0, dtype=np.float32)),
}


@dataclass(frozen=True, eq=False)
class DomainImages:
    """Test images of one domain: (N, H, W, 3) uint8 (memory-mapped), `rows` (n,) selects, labels (n,) int64."""

    images: np.ndarray
    rows: np.ndarray
    labels: np.ndarray


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

    def logits(self, test: DomainImages, update: Update | None) -> np.ndarray:
        """(n, C) float32 logit_scale · cos(v, t_c) with `update` applied; None is zero-shot.

        Raises SapError where the update is so large that a logit is not a number, and where the memory does not suffice
        for one image.
        """
        return self._judged(test, update, lambda features: self.logit_scale * features @ self.features.T)

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


def judge_points(
    plan: FoldPlan,
    wanted: Mapping[tuple[str, str], str],
    judge: Judge,
    tests: Mapping[str, DomainImages],
    scenarios: Any,
    trained: Mapping[str, Update],
    failed: list[dict[str, Any]],
) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Yield (row, probabilities (n, C), labels (n,)) for every wanted (point id, domain) with its key.

    A point that cannot be merged or judged costs no other its rows: its own join `failed`, each with the error.

    `scenarios` (sap.evaluate.attacked) makes the update of a server-side setting; `trained` holds the clients by name,
    and "pooled" and "oracle" under those names. `plan` is a shard plan. A row of validation images also has the merged
    model's `anchor_loss`; the rows of a point under attack say what becomes of the attack.
    """
    for point in plan.points:
        asked = row_domains(point, plan.target, plan.domains)
        left = [domain for domain in asked if (point.id, domain) in wanted]
        if not left:
            continue
        try:
            for row, *predicted in _judged(plan, point, list(left), judge, tests, scenarios, trained):
                found = writable({"key": wanted[point.id, row["domain"]], **row}), *predicted
                left.remove(row["domain"])
                yield found
        except Exception as error:
            names = {"point": point.id, "target": plan.target, "seed": plan.seed}
            failure = {"stage": "evaluate", **names, "error": sentence_of(error)}
            failed += [failure | {"domain": domain} for domain in left]


def _judged(
    plan: FoldPlan,
    point: PointPlan,
    domains: list[str],
    judge: Judge,
    tests: Mapping[str, DomainImages],
    scenarios: Any,
    trained: Mapping[str, Update],
) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """The rows of one point on some domains, without their keys; arguments as for `judge_points`."""
    settings = point.settings
    kind = settings["kind"]
    start = time.perf_counter()
    update = _update_of(settings, scenarios, trained) if kind not in ENSEMBLES else None
    norm = update.norm() if update is not None else None
    attacked = kind == "merge" and "attack" in settings
    facts = scenarios.facts(settings, update) if attacked else {}
    merged = time.perf_counter() - start
    for domain in domains:
        start = time.perf_counter()
        if kind in ENSEMBLES:
            each = [judge.logits(tests[domain], trained[name]) for name in plan.clients]
            probabilities = ENSEMBLES[kind](each)
        else:
            probabilities = judge.probabilities(tests[domain], update)
        row = {
            "point": point.id,
            "kind": kind,
            "target": plan.target,
            "seed": plan.seed,
            "domain": domain,
            "precision": judge.precision,
            "norm": norm,
            "seconds": round(time.perf_counter() - start + merged / len(domains), 4),
            "settings": settings,
            **facts,
        }
        if domain.endswith(VALIDATION):
            row["anchor_loss"] = scenarios.anchor_loss(update)
        yield row, probabilities, tests[domain].labels


def _update_of(settings: Mapping[str, Any], scenarios: Any, trained: Mapping[str, Update]) -> Update | None:
    kind = settings["kind"]
    if kind == "zero_shot":
        return None
    if kind == "client":
        return scenarios.client(settings)
    if kind in ("pooled", "oracle"):
        return trained[kind]
    return scenarios.merge(settings)
