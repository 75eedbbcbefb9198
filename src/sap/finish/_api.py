"""Registration of finishes, what may be done to a merged update whatever merged it, and the one way to run them.

A finish is one function in one file,

    fn(merged, stacks, options) -> {layer: ΔW}

`merged`: the Update after merge and control, before rank and λ; `stacks`: layer -> Stack of the clients that were
merged, after pruning. It touches neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sap.config import NoOptions, parse, schema_of
from sap.factors import Entry
from sap.registry import Registry
from sap.update import Stack, Update


@dataclass(frozen=True)
class Finish:
    """One finish and what it declared; see `finish_method`."""

    name: str
    function: Callable[[Update, Mapping[str, Stack], Any], Mapping[str, Entry]]
    paper: str
    options: type
    checked: str
    title: str


FINISHES: Registry[Finish] = Registry("finish")


def finish_method(name: str, paper: str, options: type = NoOptions, checked: str = "", title: str = "") -> Callable:
    """Register a finish.

    `paper`: citation; `options`: dataclass of `sap.config.option` fields; `checked`: what its values were compared
    with, a public repository and file or a closed form; `title`: what a choice of its options is called in tables, by
    default its name.
    """

    def register(function: Callable) -> Callable:
        FINISHES.add(name, Finish(name, function, paper, options, checked, title or name))
        return function

    return register


def finish(settings: Mapping[str, Any] | str, merged: Update, stacks: Mapping[str, Stack]) -> Update:
    """The merged update after a point's finish: a name, or {method: name, option: value}.

    SapError for names and options that do not exist, and for a result that is not finite.
    """
    given = {"method": settings} if isinstance(settings, str) else dict(settings)
    entry = FINISHES[given.pop("method", "")]
    options = parse(entry.options, given, f"finish.{entry.name}")
    done = Update(entry.function(merged, stacks, options))
    return done.check_finite(f"finish.{entry.name}", "Choose another finish, or other options of it.")


def describe() -> dict[str, dict[str, Any]]:
    """Name -> what was declared, as plain JSON: schema and docs come from it."""
    return {
        name: {
            "module": entry.function.__module__,
            "summary": (entry.function.__doc__ or "").strip().split("\n")[0],
            "paper": entry.paper,
            "checked": entry.checked,
            "title": entry.title,
            "options": schema_of(entry.options),
        }
        for name, entry in FINISHES.items()
    }
