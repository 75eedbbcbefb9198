"""All exhibits, wherever they are made: what the report holds. Light enough for the Snakefile, at every start.

Files: results/tables/{experiment}/NAME.{csv,md,tex,html}, beside them a page of text as NAME.{md,html}, and
results/figures/{experiment}/NAME.{pdf,png}.
"""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import sap
from sap.errors import SapError
from sap.report.exhibit import DECORATORS, Exhibit

ROOT = Path(sap.__file__).parent
PLACES = ("report/*.py", "stages/*/exhibits.py")
CHAPTERS = (  # of the HTML report, which sorts them by name: hence the digits
    "1 Claims",
    "2 Accuracy",
    "3 Pruning",
    "4 Updates and merges",
    "5 Attacks",
    "6 Needs and costs",
)
COMPLETE = "complete.txt"  # beside the tables, where no row failed


def exhibits_of(path: Path) -> Iterator[Exhibit]:
    """The exhibits that a module declares, read without importing it; SapError for what is no declaration."""
    module = ".".join(["sap", *path.relative_to(ROOT).with_suffix("").parts])
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for call in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in DECORATORS:
                maker = f"{module}.{node.name}"
                try:
                    positional = [ast.literal_eval(value) for value in call.args]
                    named = {value.arg: ast.literal_eval(value.value) for value in call.keywords}
                    found = DECORATORS[call.func.id](*positional, **named)
                except (TypeError, ValueError) as error:
                    raise SapError(
                        f"{maker} declares a {call.func.id} that cannot be read: {error}. "
                        "Write out its name, title and chapter as texts, and what it reads as a tuple of texts."
                    ) from None
                yield replace(found, caption=ast.get_docstring(node) or "", maker=maker)


def _found() -> dict[tuple[str, str], Exhibit]:
    found: dict[tuple[str, str], Exhibit] = {}
    for path in sorted(path for place in PLACES for path in ROOT.glob(place)):
        for exhibit in exhibits_of(path):
            first = found.setdefault((exhibit.kind, exhibit.name), exhibit)
            if first is not exhibit:
                raise SapError(f"{first.maker} and {exhibit.maker} both make the {exhibit.kind} '{exhibit.name}'.")
            if exhibit.chapter not in CHAPTERS:
                raise SapError(
                    f"{exhibit.maker} names the chapter '{exhibit.chapter}'; there are: {', '.join(CHAPTERS)}."
                )
            if not exhibit.caption:
                raise SapError(f"{exhibit.maker} has no docstring, so the {exhibit.kind} has no caption.")
    return found


EXHIBITS = _found()
TABLES, PAGES, FIGURES = (
    {name: exhibit for (kind, name), exhibit in EXHIBITS.items() if kind == wanted}
    for wanted in ("table", "page", "figure")
)


def made_by(stage: str) -> list[Exhibit]:
    """The exhibits that a rule makes."""
    return [exhibit for exhibit in EXHIBITS.values() if exhibit.stage == stage]


def files_of(stage: str) -> tuple[str, ...]:
    """Names of the files that it writes."""
    return tuple(file for exhibit in made_by(stage) for file in exhibit.files)


def modules_of(stage: str) -> list[str]:
    """The modules behind them: the rule's code, besides its script."""
    return sorted({exhibit.module for exhibit in made_by(stage)})
