"""The frame of every script: one sentence for a user's mistake, status 1, no traceback."""

import argparse
import codecs
import ctypes
import locale
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from sap.errors import SapError, not_written, out_of_memory
from sap.escape import terminal
from sap.imports import leave_out_unused
from sap.progress import heartbeat

LAYOUT = "\n\r\t"
BREAKS = re.compile(f"([{LAYOUT}])")
TERMINATED = 143  # 128 + SIGTERM, what a shell reports for a terminated job
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h; bytes


def run(main: Callable[[argparse.Namespace], None], parse_args: Callable[[], argparse.Namespace]) -> None:
    """Parse, run `main`, and turn a SapError into its message on stderr and exit status 1.

    So it does with what a disk, a folder or the memory refuses; any other exception is a fault of ours, with traceback.

    SIGTERM (a cancelled job) ends the script as an exception does, so that temporary files are removed; status 143.
    A rule's job (it is given --out, and --plan or --code) keeps a heartbeat in its --out folder while it runs.
    """
    use_utf8()
    sys.stdout, sys.stderr = Shown(sys.stdout), Shown(sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    keep_freed_memory()
    leave_out_unused()
    try:
        args = parse_args()
        is_job = getattr(args, "out", None) and (getattr(args, "plan", None) or getattr(args, "code", None))
        with heartbeat(args.out, Path(sys.argv[0]).stem) if is_job else nullcontext():
            main(args)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read along has seen enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        sentence = str(error) if isinstance(error, SapError) else not_written(error) or out_of_memory(error)
        if not sentence:
            raise
        sys.exit(f"error: {sentence}")


def use_utf8() -> None:
    """Start this process once more in Python's UTF-8 mode where the locale reads names of files in another way.

    Else a folder `é` would be another domain, with other ids and seeds, in another locale. Children inherit the mode.
    """
    if {codecs.lookup(name).name for name in (sys.getfilesystemencoding(), locale.getpreferredencoding(False))} != {
        "utf-8"
    }:
        sys.stdout.flush(), sys.stderr.flush()
        command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONUTF8": "1"})


class Shown:
    r"""A text stream as it was, but what names hold is shown and not obeyed: control characters, `\x1b` for one.

    Only line ends and tabs pass, and the carriage return of a progress bar.
    """

    def __init__(self, stream: TextIO) -> None:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever PYTHONIOENCODING says, `ρ` stops nobody
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        return self.stream.write("".join(part if part in LAYOUT else terminal(part) for part in BREAKS.split(text)))


def keep_freed_memory() -> None:
    """Ask glibc not to hand freed blocks back to the system while the process runs.

    A merge frees and takes tensors of the same few sizes thousands of times. Getting fresh pages for each took a third
    of its time (ViT-B/32, four clients). Other C libraries have no mallopt; there nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
