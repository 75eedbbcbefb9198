"""What the `train` section of the config, and each recipe, may say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sap.clip.options import LoraOptions
from sap.config import option


@dataclass(frozen=True)
class DistillOptions:
    kind: str = option(
        "none",
        "what the frozen model teaches: `classes`, its probabilities of the classes; `random_texts`, its similarities "
        "to random texts (Lipsum-FT)",
        choices=("none", "classes", "random_texts"),
    )
    weight: float = option(1.0, "weight of the distance to the frozen model; 0 is off", low=0)
    temperature: float = option(1.0, "temperature of both sides' probabilities (`classes`)", above=0)
    texts: int = option(80, "random texts, drawn anew at each step (`random_texts`)", low=1)


@dataclass(frozen=True)
class TrainOptions:
    epochs: int = option(12, "passes over the client's training images", low=1)
    batch_size: int = option(64, "images per step", low=1)
    learning_rate: float = option(3e-3, "peak AdamW learning rate", above=0)
    weight_decay: float = option(0.0, "AdamW weight decay", low=0)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=("cosine", "linear", "constant"))
    warmup: float = option(0.1, "share of all steps with a linear warm-up", low=0, below=1)
    label_smoothing: float = option(0.0, "label smoothing of the cross-entropy", low=0, below=1)
    gradient_clip: float | None = option(1.0, "largest gradient norm; null switches clipping off", above=0)
    augment: str = option(
        "shift",
        "`none`, `shift` (random crop of the padded image), `flip_shift` (and horizontal flips)",
        choices=("none", "shift", "flip_shift"),
    )
    precision: str = option(
        "auto", "`auto` is bf16 autocast on GPUs that have it, else float32", choices=("auto", "float32", "bfloat16")
    )
    early_stop: int | None = option(
        None, "stop after this many epochs without better validation accuracy; null never", low=1
    )
    average: str = option(
        "none",
        "which iterates' factors are averaged and uploaded: the last one alone (`none`), those of the last steps alike "
        "(`swa`), or all with weights Beta(0.5, 0.5), the first and the last most (`beta`, CLIPood)",
        choices=("none", "swa", "beta"),
    )
    average_start: float = option(0.75, "share of all steps after which `swa` begins", low=0, below=1)
    margin: float = option(0.0, "λ of CLIPood's margin: classes are told from like ones by less; 0 is off", low=0)
    random_scale: float | None = option(
        None,
        "each step's loss is that of the update times λ, drawn evenly between this and 1; null is off",
        low=0,
        high=1,
    )
    orthogonal: float = option(0.0, "weight of ‖AAᵀ − I‖²_F, summed over layers; 0 is off", low=0)
    pego: float = option(0.0, "weight of PEGO's ‖W0 ΔWᵀ‖_1, summed over layers; 0 is off", low=0)
    distill: DistillOptions = option(DistillOptions(), "staying close to the frozen model")
    lora: LoraOptions = option(LoraOptions(), "the adapter")


def acting(train: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved `train` section without the options that are off, and without what only such an option would read.

    It is what a training's id is made of: an option that a training does not use changes nothing of it.
    """
    distill = train["distill"]
    on = {
        "average": train["average"] != "none",
        "average_start": train["average"] == "swa",
        "margin": train["margin"] > 0,
        "random_scale": train["random_scale"] is not None,
        "orthogonal": train["orthogonal"] > 0,
        "pego": train["pego"] > 0,
        "distill": distill["kind"] != "none" and distill["weight"] > 0,
    }
    used = {name: value for name, value in train.items() if on.get(name, True)}
    if on["distill"]:
        unread = {"classes": "texts", "random_texts": "temperature"}[distill["kind"]]
        used["distill"] = {name: value for name, value in distill.items() if name != unread}
    return used
