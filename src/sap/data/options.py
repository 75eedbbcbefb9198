"""What the `data`, `partition`, `corruption` and `anchors` sections of the config may say."""

from dataclasses import dataclass

from sap.config import option


@dataclass(frozen=True)
class SplitOptions:
    val: float = option(0.1, "share of each class that clients hold out for validation", low=0, below=1)
    test: float = option(0.3, "share of each class that is only ever tested on", above=0, below=1)
    seed: int = option(0, "draw of the split; one split serves all training seeds", low=0)


@dataclass(frozen=True)
class ProblemOptions:
    bad_image: str = option(
        "skip",
        "a corrupt, empty, non-image or 16-bit file: `skip` lists it in skipped.csv, `refuse` stops",
        choices=("skip", "refuse"),
    )
    missing_class: str = option(
        "refuse", "a domain without images of a class: `refuse` stops, `allow` goes on", choices=("refuse", "allow")
    )
    thin_class: str = option(
        "refuse",
        "a class with fewer images than non-empty splits: `refuse` stops, `allow` trains on what there is",
        choices=("refuse", "allow"),
    )


DIGITS_DOMAINS = ("handwritten", "photo", "printed", "sketch")
DIGITS_CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class DigitsOptions:
    """Size of the embedded set."""

    size: int = option(16, "side of the square images, pixels", low=8, high=64)
    per_class: int = option(160, "images of each class in each domain, all splits together", low=3)
    corpus: int = option(24000, "images of the pretraining corpus (disjoint sources)", low=100)
    anchors: int = option(64, "anchor pairs of each pool that can be drawn (disjoint sources)", low=2)
    seed: int = option(0, "draw of the whole set", low=0)


@dataclass(frozen=True)
class DataOptions:
    name: str = option("digits", "name of the data set in tables and ids", pattern="^[a-z0-9][a-z0-9_-]*$")
    source: str = option("digits", "where they come from")  # the schema says which there are: sap.data.sources
    root: str | None = option(None, "folder or file that a source reads; relative paths start at the working directory")
    domains: tuple[str, ...] | None = option(None, "domains to use; null takes every folder under root")
    class_names: dict[str, str] = option({}, "text of a class in prompts where it differs from its folder name")
    split: SplitOptions = option(SplitOptions(), "train / val / test shares inside each domain")
    problems: ProblemOptions = option(ProblemOptions(), "what to do about bad files and classes")
    exif: str = option(
        "ignore",
        "EXIF rotation of images: `ignore` it as open_clip does, or `apply` it; `folder` only",
        choices=("ignore", "apply"),
    )


@dataclass(frozen=True)
class PartitionOptions:
    clients_per_domain: int = option(1, "clients that share one domain", low=1)
    scheme: str = option("iid", "`iid`, or `dirichlet` over labels", choices=("iid", "dirichlet"))
    alpha: float = option(0.5, "Dirichlet concentration: small is more skewed", above=0)
    balance: float = option(0.0, "log-normal spread of client sizes: 0 is equal, 1 is very unequal", low=0, high=3)
    min_size: int = option(10, "fewest training images a client may get", low=1)
    seed: int = option(0, "draw of the partition", low=0)


@dataclass(frozen=True)
class CorruptionOptions:
    kind: str = option(
        "none",
        "`uniform` random wrong label, a fixed `derangement` of the classes, one `single` target class, or a "
        "`backdoor`: the target class on images with a patch in a corner",
        choices=("none", "uniform", "derangement", "single", "backdoor"),
    )
    fraction: float = option(1.0, "share of a corrupted client's training labels that change", low=0, high=1)
    clients: tuple[str, ...] = option((), "names of the corrupted clients (a domain's name when it has one client)")
    target_class: str | None = option(None, "the class that `single` and `backdoor` assign; null takes the first")
    seed: int = option(0, "draw of the corruption", low=0)
    patch_size: float = option(0.2, "`backdoor` only: side of the patch, a share of the height", above=0, high=1)


@dataclass(frozen=True)
class AnchorOptions:
    source: str = option("digits", "where they come from")  # likewise
    root: str | None = option(None, "folder of the images (and of captions.csv)")
    captions: str | None = option(None, "`coco` only: the captions JSON")
    classes: str | None = option(
        None,
        "folder of public images of the study's classes (class/image), for points with anchor_pool: classes; null "
        "takes those that the source embeds, as `digits` does",
    )
    sizes: tuple[int, ...] = option(
        (8, 16, 32), "anchor set sizes to prepare; nested: the first 8 of the 16 of the 32", low=1, min_items=1
    )
