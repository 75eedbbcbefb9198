"""The locale decides nothing: neither how names are read nor whether `ρ` can be printed."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import argparse, os, sys
from sap.cli import run

def main(args):
    print("ρ", sys.argv[1] == "é", sorted(os.listdir("..")), open("a").encoding.lower())

parser = argparse.ArgumentParser()
parser.add_argument("name")
run(main, parser.parse_args)
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def call(folder, *options, **environment):
    """(bytes of stdout, of stderr) of the script, called with the name é in a folder that holds é/a."""
    (folder / "é").mkdir()
    (folder / "é/a").touch()
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, *options, "../script.py", "é"]
    found = subprocess.run(command, cwd=folder / "é", env=os.environ | environment, capture_output=True, check=False)
    return found.stdout, found.stderr


@pytest.mark.parametrize("options", [(), ("-E",), ("-X", "utf8=0")], ids=["plain", "no environment", "switched off"])
def test_a_script_reads_and_prints_names_as_utf8_in_an_ascii_locale(options, tmp_path):
    assert call(tmp_path, *options, **ASCII) == ("ρ True ['script.py', 'é'] utf-8\n".encode(), b"")


def test_a_script_whose_output_is_set_to_ascii_prints_an_escape(tmp_path):
    assert call(tmp_path, PYTHONIOENCODING="ascii") == (b"\\u03c1 True ['script.py', '\\xe9'] utf-8\n", b"")
