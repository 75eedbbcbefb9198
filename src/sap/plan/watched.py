"""Files that a user's config names, as inputs of rules."""

import os
from collections.abc import Sequence

from sap.errors import SapError
from sap.io import canonical, digest


def inputs_of(files: Sequence[str]) -> list[str]:
    """Those of a user's files that can be inputs of a rule: Snakemake reads braces as a wildcard, and has no escape."""
    return [file for file in files if "{" not in file]


def stamp_of(files: Sequence[str]) -> str:
    """Stands for the files that `inputs_of` leaves out: another text when one changes size or date; "" without any."""
    watched = [file for file in files if "{" in file]
    try:
        found = [(file, os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in watched]
    except OSError as error:
        raise SapError(f"{error.filename} cannot be read ({error.strerror}). Put the file there.") from error
    return digest(canonical(found)) if found else ""
