"""What the `evaluate` section of the config may say."""

from dataclasses import dataclass

from sap.config import option


@dataclass(frozen=True)
class EvaluateOptions:
    targets: tuple[str, ...] | None = option(None, "domains to hold out in turn; null takes each one")
    references: tuple[str, ...] = option(
        ("zero_shot", "client", "ensemble", "ensemble_logits", "pooled", "oracle"),
        "floors and ceilings: zero-shot, each client alone, output ensembles (mean of probabilities, mean of logits), "
        "pooled-source LoRA, in-domain oracle",
    )
    candidates: tuple[str, ...] = option(
        ("path",),
        "views whose points are candidates of a selection: each is also judged on the sources' validation images, and "
        "on each source domain's by the merge of all others, so K clients cost K more merges; [] leaves only blocks "
        "that say judged_on: selection",
    )
    precision: str = option(
        "auto",
        "arithmetic of the forward passes; `auto` is bf16 autocast on GPUs that have it, else float32",
        choices=("auto", "float32", "bfloat16"),
    )
    batch_size: int = option(
        256, "images per forward pass, halved where the memory does not suffice; never changes an id", low=1
    )
    cache_activations: bool = option(
        True,
        "keep what enters the first adapted block of the visual tower and compute it once per image set, not once per "
        "point; exact, so it never changes an id",
    )
    shards: int = option(1, "processes that share the points of one target and seed", low=1)
