"""The sections of the config, and what a block of `points` says beside the settings that it sweeps (sap.setting)."""

from dataclasses import dataclass

from sap.clip.options import BackboneOptions
from sap.config import option
from sap.data.options import AnchorOptions, CorruptionOptions, DataOptions, PartitionOptions
from sap.evaluate.options import EvaluateOptions
from sap.measure.options import MeasureOptions
from sap.train.options import TrainOptions

VIEWS = ("main", "sweep", "ablation", "path", "control", "draws", "selection", "attack", "recipes")
JUDGED_ON = ("target", "clients", "selection", "everyone")


@dataclass(frozen=True)
class PointOptions:
    """What becomes of the points of a block; the block is the product of its other lists."""

    views: tuple[str, ...] = option(
        ("main",), "tables and figures that show these points, where they are judged", choices=VIEWS
    )
    judged_on: tuple[str, ...] = option(
        ("target",),
        "the held-out `target`, always; also the `clients`' own domains; for a `selection` also validation images and "
        "anchors; also with `everyone`'s domain as a client. [] judges on nothing",
        choices=JUDGED_ON,
    )
    serve: str | dict = option(
        "merge",
        "what of the merge is judged: a kind of model, or {kind: name, option: value}; see docs/methods.md. "
        "`merge` is one update in the model's weights",
    )
    beside: tuple[dict, ...] = option((), "blocks of one point each, with which a kind of model is served")
    stages: tuple[str, ...] = option((), "stages that run with these points, beside `evaluate`")
    label: str | None = option(None, "name in tables; null writes one from the settings")
    seeds: tuple[int, ...] | None = option(
        None, "training seeds that these points are judged at, of those that the experiment has; null takes all", low=0
    )


@dataclass(frozen=True)
class EvidenceOptions:
    """Stages that test the claims; each is off until asked for, but for the headroom."""

    headroom: bool = option(True, "zero-shot, a linear probe and both ceilings, image by image, before any sweep")
    towers: bool = option(False, "train every client with LoRA on both towers, too, and compare where they conflict")
    masks: bool = option(False, "compare the masks of all anchor sizes and draws that the points use")
    mask_ratios: tuple[float, ...] = option((0.5, 0.9), "ρ of the compared masks", above=0, below=1, min_items=1)
    images: int = option(
        2000,
        "images of a domain and split for a linear probe, and members of a client that are asked for, at most",
        low=10,
    )
    margin: float = option(
        0.01, "smallest effect of interest, a share of accuracy: a claim of no effect must exclude it", above=0, below=1
    )


@dataclass(frozen=True)
class VersionOptions:
    """meta.json records the versions of the packages that can change a number; a run warns where they differ."""

    invalidate: tuple[str, ...] = option((), "packages whose version counts as code: another one runs everything again")


@dataclass(frozen=True)
class Config:
    """The whole config. `points` (a list of PointOptions blocks, each with a `merge`) is described beside it."""

    experiment: str = option(
        "digits",
        "names the folders under results/tables and results/figures, nothing else",
        pattern="^[a-z0-9][a-z0-9_-]{0,99}$",
    )
    beds: tuple[str, ...] = option(
        (),
        "other experiments, by name, that stand beside this one in the tables of regret, on whatever data they are; "
        "each must have run before",
    )
    seeds: tuple[int, ...] = option((0, 1, 2), "training seeds; every number is a mean over them", low=0, min_items=1)
    data: DataOptions = option(DataOptions(), "the images")
    partition: PartitionOptions = option(PartitionOptions(), "how a domain's training images are shared by its clients")
    corruption: CorruptionOptions = option(CorruptionOptions(), "wrong labels of chosen clients")
    backbone: BackboneOptions = option(BackboneOptions(), "the frozen CLIP")
    train: TrainOptions = option(TrainOptions(), "local training")
    recipes: dict[str, dict] = option(
        {}, "other trainings by name: what each says differently from `train`; points choose one by `recipe`"
    )
    anchors: AnchorOptions = option(AnchorOptions(), "the server's public image-text pairs")
    statistics: MeasureOptions = option(MeasureOptions(), "Grams and Fisher information, for methods that need them")
    evaluate: EvaluateOptions = option(EvaluateOptions(), "who is judged, on what")
    evidence: EvidenceOptions = option(EvidenceOptions(), "what tests the claims")
    versions: VersionOptions = option(VersionOptions(), "library versions")
