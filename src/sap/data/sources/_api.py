"""Registration of where images come from: clients' domains, the server's public pairs. One file may register both.

The plan asks a source before any job runs, so its file imports nothing heavy: numpy, Pillow and whatever opens files
are imported inside the functions that read. `data` and `anchors` are sections of the config with every default.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sap.config import parse, schema_of
from sap.data.options import AnchorOptions, DataOptions
from sap.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from sap.data.images import BadImage, Geometry, Rotations

Section = Mapping[str, Any]


class View(NamedTuple):
    """How a job wants its images: the backbone's input, how many threads may decode, what is done about EXIF."""

    geometry: "Geometry"
    threads: int
    rotations: "Rotations"


class Reading(NamedTuple):
    """One domain: N images with the names of their files, labels (N,) int64 and groups.

    images: (size, size, 3) uint8 in that order, or the reason why there is none; groups: images of one group share a
    split, and copies join groups; strays: path -> reason of what lies there and cannot be an image.
    """

    files: Sequence[str]
    labels: "np.ndarray"
    groups: Sequence[str]
    images: "Iterator[np.ndarray | BadImage]"
    strays: Mapping[str, str] = {}


class Public(NamedTuple):
    """N public pairs: names of the images, their captions, and position -> image (size, size, 3) uint8."""

    files: Sequence[str]
    captions: Sequence[str]
    image: "Callable[[int], np.ndarray]"


def no_fields(data: Section) -> dict[str, Any]:
    """Of a source whose images depend on nothing else in the config."""
    return {}


@dataclass(frozen=True)
class Corpus:
    """Captioned images on which a `scratch` backbone is pretrained.

    size: data -> side of the images; fields: data -> what they depend on
    make: own options -> images (N, size, size, 3) uint8, N captions, labels (N,) int64
    """

    size: Callable[[Section], int]
    fields: Callable[[Section], dict[str, Any]]
    make: Callable[[Any], tuple[Any, Any, Any]]


@dataclass(frozen=True)
class Source:
    """A source of domains.

    domains: data -> names of all; classes: data -> names in label order, of the domains in use
    counts: (data, domain) -> {class: images}, as far as that is known without opening one
    read: (domain, DataOptions, own options, classes, View) -> Reading
    stamp: (data, domain) -> text that changes when files come, go or are renamed; "" where there are none
    fields: data -> what else its images depend on: keys of `data`, and of its own section in there
    options: dataclass of its own section, `data.NAME`; required: keys of `data` that must be set
    threads: that decode, where the machine has them; corpus: where it can pretrain a backbone
    """

    name: str
    summary: str
    domains: Callable[[Section], list[str]]
    classes: Callable[[Section], list[str]]
    counts: Callable[[Section, str], Mapping[str, int]]
    read: Callable[[str, DataOptions, Any, Sequence[str], View], Reading]
    stamp: Callable[[Section, str], str]
    fields: Callable[[Section], dict[str, Any]] = no_fields
    options: type | None = None
    required: tuple[str, ...] = ()
    threads: int = 1
    corpus: Corpus | None = None

    @property
    def module(self) -> str:
        """Its code, which no import leads to."""
        return self.read.__module__


@dataclass(frozen=True)
class Pairs:
    """A source of public pairs.

    read: (AnchorOptions, own options, View) -> Public; files: anchors -> files that it reads beside the images
    known: (anchors, data) -> (how many pairs, where that is said); None where counting takes reading them
    read_classes: as read, of the public images of the study's classes that it embeds: a caption is the class's name
    fields: data -> what they depend on beside `anchors`; options: of the data source of the same name
    """

    name: str
    summary: str
    read: Callable[[AnchorOptions, Any, View], Public]
    files: Callable[[Section], list[str]] = lambda anchors: []
    known: Callable[[Section, Section], tuple[int, str] | None] = lambda anchors, data: None
    fields: Callable[[Section], dict[str, Any]] = no_fields
    options: type | None = None
    required: tuple[str, ...] = ()
    read_classes: Callable[[AnchorOptions, Any, View], Public] | None = None

    @property
    def module(self) -> str:
        """Its code, which no import leads to."""
        return self.read.__module__


SOURCES: Registry[Source] = Registry("data source")
PAIRS: Registry[Pairs] = Registry("source of anchors")


def add_source(source: Source) -> None:
    """Make a source of domains known under its name, which is also that of its own section."""
    if source.name in {key.name for key in dataclasses.fields(DataOptions)}:
        raise TypeError(f"data source {source.name}: `data.{source.name}` means something else, choose another name")
    SOURCES.add(source.name, source)


def add_pairs(pairs: Pairs) -> None:
    """Make a source of public pairs known under its name."""
    PAIRS.add(pairs.name, pairs)


def own_options(source: Source | Pairs, section: Section) -> Any:
    """The source's own options, which `section` holds under its name; None where it has none."""
    return parse(source.options, section.get(source.name) or {}, f"data.{source.name}") if source.options else None


def describe(schema: dict[str, Any]) -> None:
    """Add what is registered to the config's schema: the names, and each source's own section in `data`."""
    data, anchors = (schema["properties"][section]["properties"] for section in ("data", "anchors"))
    for place, said in ((data, SOURCES.values()), (anchors, PAIRS.values())):
        place["source"]["enum"] = [source.name for source in said]
        place["source"]["description"] = "; ".join(f"`{source.name}` {source.summary}" for source in said)
    for source in SOURCES.values():
        if source.options:
            data[source.name] = {**schema_of(source.options), "description": str(source.options.__doc__).split("\n")[0]}
