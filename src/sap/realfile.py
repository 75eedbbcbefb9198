"""Files that are not what their name says: the web page or the pointer that a failed download leaves in their place."""

from pathlib import Path

from sap.errors import SapError
from sap.foreign import regular_file

WEIGHTS_BYTES = 2**36  # a ViT-bigG in float32 has 10 GB
_LFS = b"version https://git-lfs"
_HEAD = 1024


def real_file(path: str | Path, most_bytes: int = WEIGHTS_BYTES) -> Path:
    """The path, once it is seen to be a `regular_file` and neither a web page nor a Git-LFS pointer; else SapError."""
    if not Path(path).exists():
        raise SapError(f"{path} does not exist. Name a file that does.")
    path = regular_file(path, most_bytes)
    head = head_of(path)
    if head.startswith(_LFS):
        raise SapError(
            f"{path} is a Git-LFS pointer, a few lines of text in place of the file. Run `git lfs pull` in its "
            "repository, or download the file itself."
        )
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise SapError(
            f"{path} is a web page, not the file that its name says: the address led to a page about it, or to a "
            "login. Download the file itself."
        )
    return path


def head_of(path: Path) -> bytes:
    """The first bytes of a file; SapError where it cannot be read."""
    try:
        with open(path, "rb") as handle:
            return handle.read(_HEAD)
    except OSError as error:
        raise SapError(f"{path} cannot be read ({error.strerror}). Check who may read it.") from error
