"""One working folder at a time makes results: clones that share results/ by a link do not see each other's Snakemake.

Snakemake's own lock lies in .snakemake/ of its working folder. Here every run holds a shared lock of its folder, and
ends where one of another folder is held. The system releases locks with their process, however it ends; a run on
another host is seen where the file system passes locks on (NFS from version 4 on, or with its lock daemon).
"""

import fcntl
import os
import socket
import sys
from pathlib import Path

from filelock import FileLock

from sap.errors import SapError
from sap.io import digest
from sap.plan.stage import RESULTS

FOLDER = Path(RESULTS) / "experiments" / ".runs"


def from_here(folder: str | Path) -> Path:
    """A folder as seen from the working folder where it lies inside, so that both may move together; else absolute.

    Raises SapError for the folder of a workflow that nobody cloned: its scripts run from there.
    """
    path, here = Path(folder).absolute(), Path.cwd()
    if not path.is_dir():
        raise SapError(
            f"{folder} is no folder on this machine. Clone the repository, and name its Snakefile by a path."
        )
    return path.relative_to(here) if path.is_relative_to(here) else path


def claim_results(folder: Path = FOLDER) -> int | None:
    """Take the results for the working folder, until the process ends; returns the descriptor that holds them.

    Several runs of one folder may hold them together: between these Snakemake's own lock decides. Raises SapError
    where a run of another folder holds them. None, with a warning, where the file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = os.path.realpath(".")
    own = folder / f"{digest(place)}.lock"
    try:
        with FileLock(folder / "claim.lock", timeout=60):  # of two that come at the same moment, one wins
            for other in sorted(folder.glob("*.lock")):
                if other not in (own, folder / "claim.lock") and _is_held(other):
                    raise SapError(
                        f"another run is making {RESULTS}/: {other.read_text(encoding='utf-8').strip()}. Both would "
                        "write the same files. Wait until it has ended, then run the same command again."
                    )
            descriptor = os.open(own, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"of {place} on {socket.gethostname()}, process {os.getpid()}\n".encode(), 0)
            return descriptor
    except (OSError, NotImplementedError) as error:
        print(
            f"warning: {folder} cannot be locked ({error}): see to it that no other folder makes the same results.",
            file=sys.stderr,
        )
        return None


def _is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)  # and with it the lock, if we got it
    return False
