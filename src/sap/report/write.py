"""Tables to CSV, Markdown, LaTeX and HTML; figures to PDF and PNG. Same content, same bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

from sap.io import atomic, write_text
from sap.report.page import page, prose
from sap.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"$<$",
        ">": r"$>$",
        "|": r"$|$",
        "±": r"$\pm$",
        "−": r"$-$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "↓": r"$\downarrow$",
        "†": r"$^{\dagger}$",
        "‡": r"$^{\ddagger}$",
        "Δ": r"$\Delta$",
        "ρ": r"$\rho$",
        "λ": r"$\lambda$",
        "–": "--",
        "→": r"$\rightarrow$",
        "…": r"\dots{}",
    }
)


def write_table(table: Table, title: str, name: str, folder: str | Path) -> None:
    """Write NAME.csv (full precision), NAME.md, NAME.tex and NAME.html (printed) into a folder."""
    folder = Path(folder)
    with atomic(folder / f"{name}.csv") as temporary:
        table.frame.to_csv(temporary, index=False, lineterminator="\n")
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
        return "\n".join([*lines, table.empty, ""])
    lines += [_markdown_row(table.headers()), "|" + " :-- |" + " --: |" * (len(table.columns) - 1)]
    for section, rows in table.sections():
        if section:
            lines.append(_markdown_row([f"**{section}**"] + [""] * (len(table.columns) - 1)))
        lines += [_markdown_row(row) for row in rows]
    return "\n".join([*lines, "", *(f"{note}  " for note in table.notes), ""])


def latex(table: Table, title: str, label: str) -> str:
    r"""The printed table as a `table*` for \usepackage{booktabs}; specials are escaped."""
    head = [r"\begin{table*}[t]", r"\centering\small\setlength{\tabcolsep}{4pt}"]
    head += [rf"\caption{{{escape(title)}.}}", rf"\label{{{label}}}"]
    if table.frame.empty:
        body = [r"\begin{tabular}{l}", r"\toprule", escape(table.empty) + r" \\", r"\bottomrule"]
    else:
        width = len(table.columns)
        body = [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", _latex_row(table.headers())]
        for section, rows in table.sections():
            body.append(r"\midrule")
            if section:
                body.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escape(section)}}}}} \\")
            body += [_latex_row(row) for row in rows]
        body.append(r"\bottomrule")
    tail = [r"\end{tabular}", *(rf"\par\smallskip\footnotesize {escape(note)}" for note in _shown_notes(table))]
    return "\n".join([*head, *body, *tail, r"\end{table*}", ""])


def escape(text: str) -> str:
    """A text with LaTeX's specials escaped and our few symbols in mathematics."""
    return text.translate(_LATEX)


def _shown_notes(table: Table) -> list[str]:
    return [] if table.frame.empty else list(table.notes)


def _latex_row(cells: list[str]) -> str:
    return " & ".join(escape(cell) for cell in cells) + r" \\"


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
