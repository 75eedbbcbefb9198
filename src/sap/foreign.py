"""The one door for files that others made: uploads, checkpoints, configs, captions.

Before a byte is parsed, the file must be a regular one of a bounded size; what it then holds is still not trusted.
"""

import json
import math
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from sap.errors import SapError, unreadable

JSON_BYTES = 2**20  # a real adapter_config.json or model config has 2 kB
JSON_DEPTH = 32  # theirs is 4; Python gives up at about 1,000, and whoever copies or prints a value recurses again
HEADER_BYTES = 2**23  # safetensors: about 170 bytes a tensor, so 49,000; a LoRA on every expert of Qwen3-30B has 37,000


def regular_file(path: str | Path, most_bytes: float = math.inf) -> Path:
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
    """The value in a JSON file of somebody else.

    Raises SapError where it is no `regular_file`, no JSON (NaN and Infinity are not), or nested deeper than JSON_DEPTH.
    """
    try:
        value = json.loads(regular_file(path, most_bytes).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        if _is_deeper(value, JSON_DEPTH):
            raise RecursionError(f"nested more than {JSON_DEPTH} deep")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error


def tensor_file(path: str | Path, most_bytes: float = math.inf) -> Path:
    """The path of a safetensors file that may be opened: a `regular_file` whose header is at most HEADER_BYTES long.

    The header lists the tensors, and its length is the file's first 8 bytes: their number is bounded before any is
    looked at. safetensors itself sees to it that they fill the file and nothing else. Raises SapError.
    """
    path = regular_file(path, most_bytes)
    try:
        with path.open("rb") as handle:
            header = int.from_bytes(handle.read(8), "little")
    except OSError as error:
        raise unreadable(path, error) from error
    if header > HEADER_BYTES:
        raise unreadable(path, ValueError(f"its header would have {header} bytes, a real one at most {HEADER_BYTES}"))
    return path


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _is_deeper(value: Any, depth: int) -> bool:
    """True where lists and objects lie in one another more than `depth` times; without recursion."""
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _children(outer)]
    return any(isinstance(value, (dict, list)) for value in level)


def _children(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
