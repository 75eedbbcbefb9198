"""The frame of every script: one sentence for a user's mistake, status 1, no traceback."""

import argparse
import ctypes
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from sap.errors import SapError
from sap.imports import leave_out_unused
from sap.progress import heartbeat

TERMINATED = 143  # 128 + SIGTERM, what a shell reports for a terminated job
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h; bytes


def run(main: Callable[[argparse.Namespace], None], parse_args: Callable[[], argparse.Namespace]) -> None:
    """Parse, run `main`, and turn a SapError into its message on stderr and exit status 1.

    SIGTERM (a cancelled job) ends the script as an exception does, so that temporary files are removed; status 143.
    A rule's job (it is given --out, and --plan or --code) keeps a heartbeat in its --out folder while it runs.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    keep_freed_memory()
    leave_out_unused()
    try:
        args = parse_args()
        is_job = getattr(args, "out", None) and (getattr(args, "plan", None) or getattr(args, "code", None))
        with heartbeat(args.out, Path(sys.argv[0]).stem) if is_job else nullcontext():
            main(args)
    except SapError as error:
        sys.exit(f"error: {error}")


def keep_freed_memory() -> None:
    """Ask glibc not to hand freed blocks back to the system while the process runs.

    A merge frees and takes tensors of the same few sizes thousands of times. Getting fresh pages for each took a third
    of its time (ViT-B/32, four clients). Other C libraries have no mallopt; there nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
