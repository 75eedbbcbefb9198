"""All exhibits, wherever they are made: what a report holds. Light enough for the Snakefile, at every start.

Files: results/tables/{experiment}/NAME.{csv,md,tex,html}, beside them a page of text as NAME.{md,html}, and
results/figures/{experiment}/NAME.{pdf,png}.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import sap
from sap.errors import SapError
from sap.report.exhibit import DECORATORS, Exhibit

ROOT = Path(sap.__file__).parent
PLACES = ("findings/*.py", "stages/*/exhibits.py")
# Of the HTML report, which sorts them by name: hence the digits.
CHAPTERS = ("1 Claims", "2 Accuracy", "3 Pruning", "4 Updates and merges", "5 Attacks", "6 Needs and costs")
COMPLETE = "complete.txt"  # beside the tables, where no row failed


def exhibits_of(module: str, source: str) -> Iterator[Exhibit]:
    """The exhibits that a module declares, read from its source; SapError for one that is not as it should be."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in DECORATORS):
                continue
            kind, maker, caption = call.func.id, f"{module}.{node.name}", ast.get_docstring(node)
            try:
                positional = [ast.literal_eval(value) for value in call.args]
                named = {str(value.arg): ast.literal_eval(value.value) for value in call.keywords}
                found = DECORATORS[kind](*positional, **named)
            except (TypeError, ValueError) as error:
                raise SapError(
                    f"{maker} declares a {kind} that cannot be read: {error}. Write out its name, title and chapter as "
                    "texts, and what it reads as a tuple of texts."
                ) from None
            if found.chapter not in CHAPTERS:
                raise SapError(f"{maker} names the chapter '{found.chapter}'; there are: {', '.join(CHAPTERS)}.")
            if not caption:
                raise SapError(
                    f"{maker} has no docstring, so the {kind} has no caption. Say what is seen, and how to read it."
                )
            yield replace(found, caption=caption, maker=maker)


def gathered(exhibits: Iterable[Exhibit]) -> dict[tuple[str, str], Exhibit]:
    """Exhibits by kind and name; SapError where two would have the same files."""
    found: dict[tuple[str, str], Exhibit] = {}
    for exhibit in exhibits:
        first = found.setdefault((exhibit.kind, exhibit.name), exhibit)
        if first is not exhibit:
            raise SapError(
                f"{first.maker} and {exhibit.maker} both make the {exhibit.kind} '{exhibit.name}'. Rename one."
            )
    return found


def _all() -> Iterator[Exhibit]:
    for path in sorted(path for place in PLACES for path in ROOT.glob(place)):
        module = ".".join(["sap", *path.relative_to(ROOT).with_suffix("").parts])
        yield from exhibits_of(module, path.read_text(encoding="utf-8"))


EXHIBITS = gathered(_all())
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
