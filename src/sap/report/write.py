"""Tables to CSV, Markdown, LaTeX and HTML; figures to PDF and PNG. Same content, same bytes."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sap import escape
from sap.io import atomic, write_text
from sap.report.page import page, prose
from sap.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_table(table: Table, title: str, name: str, folder: str | Path) -> None:
    """Write NAME.csv (full precision), NAME.md, NAME.tex and NAME.html (printed) into a folder."""
    folder = Path(folder)
    write_text(folder / f"{name}.csv", table.csv())
    write_text(folder / f"{name}.md", markdown(table, title))
    write_text(folder / f"{name}.tex", latex(table, title, f"tab:{name}"))
    write_text(folder / f"{name}.html", page(table, title, name))


def write_page(text: str, title: str, name: str, folder: str | Path) -> None:
    """Write a Markdown text as NAME.md and, rendered, as NAME.html into a folder."""
    write_text(Path(folder) / f"{name}.md", text)
    write_text(Path(folder) / f"{name}.html", prose(text, title))


def write_figure(figure: "Figure", name: str, folder: str | Path) -> None:
    """Write NAME.pdf and NAME.png (200 dpi). No dates inside: the same figure gives the same bytes."""
    for suffix, metadata in (("pdf", {"CreationDate": None, "ModDate": None}), ("png", {"Software": None})):
        with atomic(Path(folder) / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, dpi=200, metadata=metadata)


def markdown(table: Table, title: str) -> str:
    """The printed table as a Markdown page: title, table (a bold line opens each section), notes."""
    lines = [f"# {title}", ""]
    if table.frame.empty:
        return "\n".join([*lines, _markdown_sentence(table.empty), ""])
    lines += [markdown_row(table.headers()), "|" + " :-- |" + " --: |" * (len(table.columns) - 1)]
    for section, rows in table.sections():
        if section:
            lines.append(f"| **{escape.markdown(section)}** |" + "  |" * (len(table.columns) - 1))
        lines += [markdown_row(row) for row in rows]
    return "\n".join([*lines, "", *(f"{_markdown_sentence(note)}  " for note in table.notes), ""])


def latex(table: Table, title: str, label: str) -> str:
    r"""The printed table as a `table*` for \usepackage{booktabs}, in ASCII."""
    head = [r"\begin{table*}[t]", r"\centering\small\setlength{\tabcolsep}{4pt}"]
    head += [rf"\caption{{{escape.latex(title)}.}}", rf"\label{{{label}}}"]
    if table.frame.empty:
        body = [r"\begin{tabular}{l}", r"\toprule", _latex_sentence(table.empty) + r" \\", r"\bottomrule"]
    else:
        width = len(table.columns)
        body = [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", _latex_row(table.headers())]
        for section, rows in table.sections():
            body.append(r"\midrule")
            if section:
                body.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escape.latex(section)}}}}} \\")
            body += [_latex_row(row) for row in rows]
        body.append(r"\bottomrule")
    tail = [
        r"\end{tabular}",
        *(rf"\par\smallskip\footnotesize {_latex_sentence(note)}" for note in _shown_notes(table)),
    ]
    return "\n".join([*head, *body, *tail, r"\end{table*}", ""])


def _shown_notes(table: Table) -> list[str]:
    return [] if table.frame.empty else list(table.notes)


def _latex_row(cells: list[str]) -> str:
    return " & ".join(map(escape.latex, cells)) + r" \\"


def _latex_sentence(text: str) -> str:
    return escape.code_spans(text, escape.latex, lambda code: rf"\texttt{{{escape.latex(code)}}}")


def markdown_row(cells: Iterable[str]) -> str:
    """One row of a Markdown table; the cells are texts, not markup."""
    return f"| {' | '.join(map(escape.markdown, cells))} |"


def _markdown_sentence(text: str) -> str:
    return escape.code_spans(text, escape.markdown, lambda code: f"`{' '.join(code.split())}`")
