"""What one block of `points` may say. Every field with a list is swept: a block is the product of its lists."""

from dataclasses import dataclass

from sap.clip.options import BackboneOptions
from sap.config import option
from sap.data.options import AnchorOptions, CorruptionOptions, DataOptions, PartitionOptions
from sap.evaluate.options import EvaluateOptions
from sap.measure.options import MeasureOptions
from sap.point import DEFAULTS
from sap.train.options import TrainOptions

VIEWS = (
    "main",
    "seen",
    "sweep",
    "ablation",
    "path",
    "control",
    "draws",
    "select",
    "attack",
    "everyone",
    "probe",
    "privacy",
)


@dataclass(frozen=True)
class PointOptions:
    """Methods and criteria are checked against their registries; `merge` is a name or {method: name, option: value}."""

    views: tuple[str, ...] = option(
        ("main",),
        "tables and figures that show these points; `seen` ones are judged on the clients' own domains too, `select` "
        "ones also on their validation images and the anchors, `everyone` ones also where no domain is held out; "
        "points of `probe` and `privacy` alone are not judged",
        choices=VIEWS,
    )
    label: str | None = option(None, "name in tables; null writes one from the settings")
    seeds: tuple[int, ...] | None = option(
        None, "training seeds that these points are judged at, of those that the experiment has; null takes all", low=0
    )
    attackers: tuple[str, ...] = option(
        ("each",),
        "who attacks: a client's name, several joined by +, or `each` client in turn; nobody where attack is none",
        min_items=1,
    )
    attacker_weight: tuple[float | None, ...] = option(
        (None,),
        "weight of all attackers together in a weighted_mean, for the curve from 0 to 1; null leaves it to the merge",
        low=0,
        high=1,
        min_items=1,
    )
    criterion: tuple[str, ...] = option(
        (DEFAULTS["criterion"],), "what is pruned first; `none` leaves the updates whole", min_items=1
    )
    space: tuple[str, ...] = option(
        (DEFAULTS["space"],), "score and mask on the dense ΔW, or on A and B", choices=("delta", "factors"), min_items=1
    )
    prune_ratio: tuple[float, ...] = option(
        (DEFAULTS["prune_ratio"],), "ρ, share of entries set to zero", low=0, high=1, min_items=1
    )
    prune_top: tuple[float, ...] = option(
        (DEFAULTS["prune_top"],),
        "γ, share of the highest scores that goes, too (two-sided pruning); part of ρ",
        low=0,
        below=1,
        min_items=1,
    )
    count: tuple[str, ...] = option(
        (DEFAULTS["count"],), "how many entries ρ·N is", choices=("floor", "round"), min_items=1
    )
    unit: tuple[str, ...] = option(
        (DEFAULTS["unit"],),
        "what is kept or dropped as one: an entry, an output row, a rank-1 component (space factors), a whole layer",
        choices=("entry", "row", "component", "layer"),
        min_items=1,
    )
    scope: tuple[str, ...] = option(
        (DEFAULTS["scope"],),
        "one threshold per layer, one for the whole model, or one per output row",
        choices=("layer", "model", "row"),
        min_items=1,
    )
    rescale: tuple[str, ...] = option(
        (DEFAULTS["rescale"],),
        "`inverse_density` is 1/(1-ρ); `frobenius` and `l1` keep each layer's norm, `frobenius_model` the whole "
        "update's; `robustmerge` lifts the rank-1 components (space factors)",
        choices=("none", "inverse_density", "frobenius", "frobenius_model", "l1", "robustmerge"),
        min_items=1,
    )
    alignment: tuple[str, ...] = option(
        (DEFAULTS["alignment"],), "anchor loss behind the gradient", choices=("cosine", "contrastive"), min_items=1
    )
    reduction: tuple[str, ...] = option(
        (DEFAULTS["reduction"],),
        "|w · mean g| or mean |w · g_i|",
        choices=("absolute_of_mean", "mean_of_absolute"),
        min_items=1,
    )
    anchor_size: tuple[int, ...] = option(
        (DEFAULTS["anchor_size"],), "anchor pairs; must be one of anchors.sizes", low=1, min_items=1
    )
    anchor_draw: tuple[int, ...] = option((DEFAULTS["anchor_draw"],), "which draw of the anchors", low=0, min_items=1)
    statistics: tuple[str, ...] = option(
        (DEFAULTS["statistics"],),
        "whose inputs Grams and Fisher information are measured on: each client's own images, or the anchors",
        choices=("client", "anchors"),
        min_items=1,
    )
    rank: tuple[int | None, ...] = option(
        (DEFAULTS["rank"],),
        "best approximation of the merged update by this rank; null keeps it as it is",
        low=1,
        min_items=1,
    )
    scale: tuple[float, ...] = option(
        (DEFAULTS["scale"],), "λ on the merged update; 0 is zero-shot", low=0, min_items=1
    )
    control: tuple[str, ...] = option(
        (DEFAULTS["control"],),
        "`shrunk`: the unpruned merge at the pruned one's layer norms; `restored`: the other way round",
        choices=("none", "shrunk", "restored"),
        min_items=1,
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
    seeds: tuple[int, ...] = option((0, 1, 2), "training seeds; every number is a mean over them", low=0, min_items=1)
    data: DataOptions = option(DataOptions(), "the images")
    partition: PartitionOptions = option(PartitionOptions(), "how a domain's training images are shared by its clients")
    corruption: CorruptionOptions = option(CorruptionOptions(), "wrong labels of chosen clients")
    backbone: BackboneOptions = option(BackboneOptions(), "the frozen CLIP")
    train: TrainOptions = option(TrainOptions(), "local training")
    anchors: AnchorOptions = option(AnchorOptions(), "the server's public image-text pairs")
    statistics: MeasureOptions = option(MeasureOptions(), "Grams and Fisher information, for methods that need them")
    evaluate: EvaluateOptions = option(EvaluateOptions(), "who is judged, on what")
    evidence: EvidenceOptions = option(EvidenceOptions(), "what tests the claims")
    versions: VersionOptions = option(VersionOptions(), "library versions")
