"""How a table, a page or a figure is declared: once, above the function that makes it.

    @table("privacy", "What uploads tell about their images", "6 Needs and costs", reads=("privacy",))
    def privacy_table(results: Results) -> Table:
        ... whose docstring is the caption: a sentence on what is seen, and one on how to read it.

The Snakefile lists all of them at every start, without importing pandas or matplotlib: `sap.report.catalogue` reads the
declarations from the source. So their arguments are constants, written out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

SUFFIXES = {"table": ("csv", "md", "tex", "html"), "page": ("md", "html"), "figure": ("pdf", "png")}


@dataclass(frozen=True)
class Exhibit:
    """A table, page or figure.

    name: of its files
    title: the report's word for it, and the heading of a table
    chapter: of the HTML report (`sap.report.catalogue.CHAPTERS`)
    reads: the stages whose rows a table shows one by one: it marks what failed there
    stage: the rule that makes it
    caption, maker: the maker's docstring and its dotted name, known once it was found
    """

    kind: str
    name: str
    title: str
    chapter: str
    reads: tuple[str, ...] = ("evaluate",)
    stage: str = "tables"
    caption: str = ""
    maker: str = ""

    def __call__(self, maker: Callable[..., Any]) -> Callable[..., Any]:
        """As a decorator it leaves the maker as it is."""
        return maker

    @property
    def files(self) -> list[str]:
        """Names of its files; the HTML report shows the last."""
        return [f"{self.name}.{suffix}" for suffix in SUFFIXES[self.kind]]

    @property
    def module(self) -> str:
        """Where it is made."""
        return self.maker.rpartition(".")[0]

    def make(self, results: Any) -> Any:
        """A Table, a Figure, or a page's Markdown, from `Results`."""
        return getattr(import_module(self.module), self.maker.rpartition(".")[2])(results)


table = partial(Exhibit, "table")
page = partial(Exhibit, "page")
figure = partial(Exhibit, "figure", stage="figures")
DECORATORS = {"table": table, "page": page, "figure": figure}
