"""What code a result depends on: a hash over the syntax trees of everything a script or module imports from sap.

Modules are named ("sap.compose"), scripts are paths: they lie in a checkout. Comments, docstrings, formatting and
modification times do not count. `__init__.py` files count only where they are imported by name: registering one more
merge method does not change the others.
"""

import ast
from functools import cache
from pathlib import Path

import sap
from sap.io import digest

ROOT = Path(sap.__file__).parent

# These carry messages, names, provenance and scheduling; no number depends on them.
SILENT = frozenset(
    {
        "sap",
        "sap.cli",
        "sap.devices",
        "sap.errors",
        "sap.failures",
        "sap.imports",
        "sap.job",
        "sap.progress",
        "sap.provenance",
        "sap.registry",
    }
)


@cache
def fingerprint(*entries: str | Path) -> str:
    """Ten hex digits for the import closure of `entries`: modules, or scripts of which only the name counts."""
    return digest("\n".join(f"{name} {tree}" for name, tree in trees(*entries).items()))


def trees(*entries: str | Path) -> dict[str, str]:
    """What `fingerprint` covers: {module or script: digest of its syntax tree}, sorted by name."""
    return {name: _tree(path) for name, path in sorted(_files(*entries).items())}


def closure(*entries: str | Path) -> list[str]:
    """Sorted names of the entries and of every sap module that they import, directly or not."""
    return sorted(_files(*entries))


def _files(*entries: str | Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = list(entries)
    while waiting:
        entry = waiting.pop()
        name, path = (entry.stem, entry) if isinstance(entry, Path) else (entry, _path(entry))
        if name not in found:
            found[name] = path
            waiting.extend(_imports(path))
    return found


def _path(name: str) -> Path:
    stem = ROOT.joinpath(*name.split(".")[1:])
    return stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _tree(path: Path) -> str:
    tree = _parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return digest(ast.dump(tree))


@cache
def _imports(path: Path) -> tuple[str, ...]:
    found: set[str] = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if _is_module(inner) else node.module)
    return tuple(sorted(name for name in found if _is_module(name) and name not in SILENT))


def _is_module(name: str) -> bool:
    return (name == "sap" or name.startswith("sap.")) and _path(name).is_file()
