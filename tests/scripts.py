"""A stage's script as its rule runs it, in this process."""

import runpy
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sap.io import write_json

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"


def run_script(name: str, plan: dict[str, Any], out: Path, **flags: Any) -> Path:
    """Run the script `name` on a plan in plain JSON, with further `--flags`; returns `out`."""
    path = out.with_suffix(".json")
    write_json(path, plan)
    flags = {"plan": path, "code": "x", "out": out} | flags
    given = [text for flag, value in flags.items() for text in (f"--{flag.replace('_', '-')}", str(value))]
    with patch.object(sys, "argv", [name, *given]):
        loaded = runpy.run_path(str(SCRIPTS / f"{name}.py"))
        loaded["main"](loaded["parse_args"]())
    return out
