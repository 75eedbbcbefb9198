"""The frame of the commands, from outside."""

import subprocess
import sys


def test_whoever_reads_along_may_stop_and_no_traceback_follows():
    command = f"{sys.executable} -c 'from sap.commands.main import main; main()' merge --list | true"
    found = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
