"""The exceptions that are meant for users, and the sentences that every reader of files shares."""

from pathlib import Path


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
