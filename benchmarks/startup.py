"""How long each script takes until its own work begins, next to the imports that it cannot do without.

    python benchmarks/startup.py --repeats 5

Start-up: from the start of a fresh Python process until all of a script's imports are done. They are the import
statements of the script, those inside its functions and conditions included, in their order and under `sap.cli.run`, so
no inputs are needed and nothing is left out that a call with other arguments would not import. Where a script leaves
early (evaluate and audit with every row there, merge with --help) its start-up is shorter than this.

A yardstick is a process with nothing but its imports, as their packages do them. Seconds are medians; scripts and
yardsticks take turns, so that a disturbance meets all of them. Linux only: processes compare their monotonic clocks.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
HEAVY = ("transformers", "torchvision", "open_clip", "peft", "torch", "pandas", "matplotlib", "scipy", "scipy.stats")

NUMPY, TORCH, TABLES = "import numpy", "import torch", "import pandas, matplotlib"
CLIP = "import torch; from open_clip.model import CLIP"
# yardstick and largest ratio
LIMITS = {
    "tables": (TABLES, 1.5),
    "figures": (TABLES, 1.5),
    "merge": (TORCH, 1.3),
    "prune": (TORCH, 1.3),
    "diagnose": (TORCH, 1.3),
    "audit": (TORCH, 1.3),
    "score_client": (CLIP, 1.3),
    "evaluate": (CLIP, 1.3),
    "measure": (CLIP, 1.3),
    "embed_classes": (CLIP, 1.3),
    "train_client": (CLIP, 1.3),
}

# Prints the clock and the heavy modules that are there; {imports} comes before.
CHILD = """{imports}
import json, sys, time
print(json.dumps([time.monotonic(), [name for name in {heavy} if name in sys.modules]]))
"""
IMPORTS = """
import ast, sys
from argparse import Namespace
sys.argv = [{paths[0]!r}]
tree = ast.parse("\\n".join(open(path, encoding="utf-8").read() for path in {paths}))
top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
inner = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in top]
inner.sort(key=lambda node: node.lineno)
scope = {{}}
def load(nodes):
    exec(compile(ast.Module(nodes, []), {paths[0]!r}, "exec"), scope)
load(top)
scope["run"](lambda _: load(inner), Namespace)
"""


def imports_of(script: str) -> str:
    """Python code that does all imports of a script, by its name, and nothing else."""
    paths = (SCRIPTS / f"{script}.py", ROOT / "src/sap/commands" / f"{script}.py")  # of what a person calls, the second
    return IMPORTS.format(paths=[str(path) for path in paths if path.exists()])


def snakefile_imports() -> str:
    """The import statements with which the Snakefile's rules begin."""
    lines = (ROOT / "workflow" / "rules" / "common.smk").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith(("import ", "from ")))


def start(imports: str) -> tuple[float, list[str]]:
    """(seconds, heavy modules) of one fresh process that runs `imports`."""
    code = CHILD.format(imports=imports, heavy=HEAVY)
    started = time.monotonic()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    ended, modules = json.loads(found.stdout.splitlines()[-1])
    return ended - started, modules


def main(repeats: int, only: list[str]) -> None:
    names = only or sorted(path.stem for path in SCRIPTS.glob("*.py"))
    codes = {name: imports_of(name) for name in names}
    if not only:
        codes["(Snakefile)"] = snakefile_imports()
    needed = {LIMITS[name][0] for name in names if name in LIMITS}
    codes |= {yardstick: yardstick for yardstick in (NUMPY, TABLES, TORCH, CLIP) if yardstick in needed or not only}
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    modules: dict[str, list[str]] = {}
    for _ in range(repeats):
        for name, code in codes.items():
            taken, modules[name] = start(code)
            seconds[name].append(taken)
    found = {name: statistics.median(taken) for name, taken in seconds.items()}
    rows: list[list[Any]] = []
    for name in codes:
        yardstick, limit = LIMITS.get(name, ("", None))
        ratio = found[name] / found[yardstick] if yardstick else None
        rows.append([name, found[name], yardstick, ratio, limit, " ".join(modules[name])])
    print(
        tabulate(rows, ["script", "seconds", "yardstick", "×", "limit", "imports"], floatfmt=".2f", tablefmt="github")
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes of each; default: 5")
    parser.add_argument("--only", nargs="+", default=[], metavar="SCRIPT", help="these scripts, by name")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse_args()
    main(options.repeats, options.only)
