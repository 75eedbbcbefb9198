"""The one door for files that others made: uploads, checkpoints, configs, captions.

Before a byte is parsed, the file must be a regular one of a bounded size; what it then holds is still not trusted.
"""

import json
import stat
from pathlib import Path
from typing import Any

from sap.errors import SapError
from sap.io import unreadable

JSON_BYTES = 2**20  # a real adapter_config.json or model config has 2 kB


def regular_file(path: str | Path, most_bytes: int) -> Path:
    """The path, once it is seen to be a regular file of at most `most_bytes` bytes (a link to one is one).

    Raises SapError for a missing file, a folder, a pipe or device, which a reader would wait on for ever, and a larger
    file.
    """
    path = Path(path)
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise SapError(f"{path} is not a regular file (a folder, pipe or device). Put the file itself there.")
    if found.st_size > most_bytes:
        raise SapError(
            f"{path} has {found.st_size} bytes, a file of this kind at most {most_bytes}. "
            "Look into it: it is probably not what its name says."
        )
    return path


def read_json(path: str | Path, most_bytes: int = JSON_BYTES) -> Any:
    """The value in a JSON file of somebody else; SapError where it is no `regular_file`, no JSON, or nested too deep."""
    try:
        return json.loads(regular_file(path, most_bytes).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
