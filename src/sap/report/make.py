"""The files of exhibits: every table, page and figure that a rule makes."""

from pathlib import Path

from threadpoolctl import threadpool_limits

from sap.report.catalogue import made_by
from sap.report.exhibit import Exhibit
from sap.report.failures import marked
from sap.report.frame import Results
from sap.report.style import styled
from sap.report.write import write_figure, write_page, write_table


# By hand as in the workflow: with more threads, sums are in another order and the last digits differ.
@threadpool_limits.wrap(limits=1)
def make_exhibits(stage: str, results: Results, folder: str | Path) -> None:
    """Make what `stage` (`tables`, `headroom_table`, `figures`) makes; one without data says so in a sentence."""
    for exhibit in made_by(stage):
        _MAKE[exhibit.kind](exhibit, results, folder)


def _table(exhibit: Exhibit, results: Results, folder: str | Path) -> None:
    write_table(marked(exhibit.make(results), exhibit.reads, results), exhibit.title, exhibit.name, folder)


def _page(exhibit: Exhibit, results: Results, folder: str | Path) -> None:
    write_page(exhibit.make(results), exhibit.title, exhibit.name, folder)


def _figure(exhibit: Exhibit, results: Results, folder: str | Path) -> None:
    with styled():
        write_figure(exhibit.make(results), exhibit.name, folder)


_MAKE = {"table": _table, "page": _page, "figure": _figure}
