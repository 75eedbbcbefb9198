"""The sample count of an upload: the one number of a client's own that weighs it, believed only where it can be one.

No torch here: the keys of rows read it, too.
"""

from pathlib import Path

from sap.errors import SapError
from sap.io import read_meta

MOST = 2**53 - 1  # above it float64 skips integers; nobody has as many images


def sample_count(folder: str | Path) -> int:
    """The sample count in an upload's meta.json; SapError unless it is an integer from 1 to MOST."""
    count = read_meta(folder).get("sample_count")
    if type(count) is not int or not 0 < count <= MOST:  # `true` is an int, too, for isinstance
        shown = repr(count)[:40] if isinstance(count, int | float | str | None) else f"a {type(count).__name__}"
        raise SapError(
            f"{Path(folder) / 'meta.json'}: sample_count must be a positive integer below 2**53, got {shown}. "
            "Leave this client out, or let it upload again."
        )
    return count
