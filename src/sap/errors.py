"""The exceptions that are meant for users, and the sentences for what files, disks and memory refuse."""

import errno
import os
import re
from pathlib import Path

# What the system says of a place that takes no more -> what it means, and the next step.
_REFUSALS = {
    errno.ENOSPC: ("no space left while writing {}; nothing was kept", "Free some space"),
    errno.EDQUOT: ("no space left in your quota while writing {}; nothing was kept", "Free some space"),
    errno.EFBIG: ("{} became larger than a file may be here; nothing was kept", "Raise the limit (ulimit -f)"),
    errno.EROFS: ("{} cannot be written: its file system is read-only", "Mount it for writing or name another folder"),
    errno.EACCES: ("access to {} is denied", "Change its permissions, or its folder's,"),
    errno.EPERM: ("access to {} is denied", "Change its permissions, or its folder's,"),
}


class SapError(Exception):
    """A mistake that the user can mend.

    The message is one sentence or two: where, what was expected, what was found, and the next
    step. Scripts print it without a traceback and exit with status 1.
    """


class MachineError(SapError):
    """The machine lacks memory or disk space: whatever row was being computed, the job ends."""


def shown(value: object, most: int = 200) -> str:
    """Python's spelling of a value as a message quotes it: at most `most` characters, then dots.

    A file of somebody else must not decide how long a sentence is.
    """
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}…"


def unreadable(path: str | Path, error: Exception) -> SapError:
    """The sentence for a missing or broken artifact; of a long `error`, which may quote the file, its beginning."""
    if isinstance(error, FileNotFoundError):
        return SapError(f"{path} is missing. Build it with: snakemake {path}")
    if isinstance(error, PermissionError):
        return SapError(f"{path} may not be read by you. Change its permissions and run the same command again.")
    if short := out_of_memory(error):  # the file may well be whole
        return SapError(f"{path}: {short}")
    reason = str(error)
    return SapError(
        f"{path} cannot be read ({reason if len(reason) <= 300 else f'{reason[:300]}…'}). If it is one of ours, delete "
        f"{_whole(path)} and run the same snakemake command again."
    )


def damaged(path: str | Path, what: str) -> SapError:
    """The sentence for a file that can be read and is not what was written."""
    return SapError(f"{path} is damaged ({what}). Delete {_whole(path)} and run the same snakemake command again.")


def _whole(path: str | Path) -> str:
    """What to delete: Snakemake asks for an artifact's meta.json, and would not miss another file alone."""
    folder = Path(path).parent
    return f"the folder {folder}" if (folder / "meta.json").exists() else "it"


def not_written(error: BaseException, path: str | Path | None = None) -> str | None:
    """The sentence for an error of a disk or folder that takes no more; None for any other error.

    A library (safetensors) may only quote the system in its message. `path`: the file that is written, where it is
    known; an error that names something else than a file of its folder, or that folder, is not about it.
    """
    named = getattr(error, "filename", None)
    if path is not None and named is not None:
        folder, other = Path(path).parent, Path(os.fsdecode(named))
        if not (other.is_relative_to(folder) or folder.is_relative_to(other)):
            return None
    code = getattr(error, "errno", None)
    if code is None and not isinstance(error, SapError):
        code = next((code for code in _REFUSALS if os.strerror(code) in str(error)), None)
    if code not in _REFUSALS:
        return None
    what, step = _REFUSALS[code]
    return f"{what.format(path or named or 'a file')}. {step} and run the same command again."


def out_of_memory(error: BaseException) -> str | None:
    """The sentence for an error that says that memory ran out, of the computer or of a GPU; None for any other."""
    asked = re.search(r"(?:tried|unable) to allocate ([\d.]+ ?(?:[KMGTPE]i?B|bytes))", str(error), re.I)
    named = re.search(
        "not enough memory|out of memory|[Cc]an(?:not|'t) allocate memory|failed to map segment", str(error)
    )
    if isinstance(error, SapError) or not (isinstance(error, MemoryError) or named):
        return None
    more = f" where {asked[1]} more were asked for" if asked else ""
    return (
        f"memory ran out{more}. Run fewer jobs at a time (--cores, SAP_JOBS_PER_GPU), or give each more (mem_mb in the "
        "profile), and run the same command again."
    )
