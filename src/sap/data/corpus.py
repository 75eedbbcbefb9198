"""The corpus of a data source, which a `scratch` backbone is pretrained on."""

from collections.abc import Mapping
from typing import Any

from sap.data.sources import SOURCES
from sap.data.sources._api import Corpus, own_options
from sap.errors import SapError


def size_of(corpus: Mapping[str, Any]) -> int:
    """Side of its images, pixels. `corpus` holds `source`, and what it depends on in the source's own section."""
    return _declared(corpus).size(corpus)


def make_corpus(corpus: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Images (N, size, size, 3) uint8, N captions, labels (N,) int64."""
    return _declared(corpus).make(own_options(SOURCES[corpus["source"]], corpus))


def _declared(corpus: Mapping[str, Any]) -> Corpus:
    found = SOURCES[corpus["source"]].corpus
    if found is None:
        raise SapError(f"data source {corpus['source']} has no corpus. Choose another backbone.kind than scratch.")
    return found
