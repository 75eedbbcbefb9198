"""The weights of an open_clip tag: from the hub's cache, or downloaded, or one sentence that says what to fetch."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import open_clip
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from sap.errors import SapError, not_written

PATIENCE = 10.0  # seconds for the first answer of the hub


def tag_weights(tag_cfg: Mapping[str, Any], name: str) -> str:
    """Path of a tag's weights file, downloaded where it has to be; `name` says in an error what was wanted.

    Without a connection open_clip asks again and again, for most of a minute, and even where the file is in the cache.
    So the hub is asked once before. Raises SapError with the repository, the file and the cache's folder.
    """
    repository, _, file = tag_cfg.get("hf_hub", "").rpartition("/")
    files = [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]  # open_clip's order
    try:
        if repository:
            _ask(repository, files[0])
    except Exception as error:  # each of the HTTP library's own exceptions means: not here now
        cached = _cached(repository, files)
        if cached:
            return cached
        raise _not_here(name, repository, files, error) from error
    try:
        return open_clip.download_pretrained(tag_cfg)
    except Exception as error:
        if not_written(error):
            raise
        raise _not_here(name, repository or tag_cfg.get("url"), files, error) from error


def _not_here(name: str, source: str | None, files: Sequence[str], error: Exception) -> SapError:
    return SapError(
        f"backbone: the weights of {name} could not be downloaded ({type(error).__name__}): {' or '.join(files)} of "
        f"{source} is not in the cache {constants.HF_HUB_CACHE} either. Connect to the network and run again, or fetch "
        "the file elsewhere and name it: backbone.kind: checkpoint, backbone.checkpoint: FILE."
    )


def _ask(repository: str, file: str) -> None:
    """Raise whatever the connection to the hub raises; an answer, even that the file is not there, is an answer."""
    with suppress(HfHubHTTPError):
        get_hf_file_metadata(hf_hub_url(repository, file), timeout=PATIENCE)


def _cached(repository: str, files: Sequence[str]) -> str | None:
    for file in files:
        found = try_to_load_from_cache(repository, file)
        if isinstance(found, str):  # else None, or a mark for a file that the repository lacks
            return found
    return None
