"""A table, or a text, as one HTML page, for readers of the Snakemake report: what is no HTML it can only download."""

from html import escape
from urllib.parse import quote

from markdown_it import MarkdownIt

from sap.escape import code_spans
from sap.report.table import MISSING, Table

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1e293b; margin: 1.5rem; }
h1 { font-size: 1.15rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.7rem; text-align: right; white-space: nowrap; }
th.words, td.words, th.sentence, td.sentence { text-align: left; }
th.sentence, td.sentence { white-space: normal; min-width: 40rem; }
thead th { position: sticky; top: 0; background: white; border-bottom: 2px solid #1e293b; }
tbody th { border-top: 1px solid #94a3b8; padding-top: 0.6rem; text-align: left; font-weight: normal; }
tbody th { font-style: italic; }
tbody tr:hover td { background: #f1f5f9; }
.prose { max-width: 80rem; }
.prose h2 { font-size: 1rem; margin: 1.6rem 0 0.5rem; }
.prose th, .prose td { vertical-align: top; text-align: left; }
.prose td:not([style]) { white-space: normal; }
"""


def page(table: Table, title: str, name: str) -> str:
    """The printed table, its notes and a link to NAME.csv (full precision); all of it inside, nothing is loaded."""
    if table.frame.empty:
        body = [_sentence(table.empty)]
    else:
        sections = table.sections()
        kinds = [_kind(column) for column in zip(*(cells for _, rows in sections for cells in rows), strict=True)]
        body = ["<table>", f"<thead>{_row(table.headers(), kinds, 'th')}</thead>", "<tbody>"]
        for section, rows in sections:
            if section:
                body.append(f'<tr><th colspan="{len(table.columns)}">{escape(section)}</th></tr>')
            body += [_row(cells, kinds, "td") for cells in rows]
        csv = quote(table.csv())
        body += ["</tbody>", "</table>", *map(_sentence, table.notes)]
        body.append(f'<p><a download="{name}.csv" href="data:text/csv;charset=utf-8,{csv}">{name}.csv</a></p>')
    return _document(title, ["<body>", f"<h1>{escape(title)}</h1>", *body, "</body>"])


def prose(text: str, title: str) -> str:
    """A Markdown text with tables, rendered; what it says in HTML is shown as it is written."""
    body = MarkdownIt("js-default").render(text)
    return _document(title, ['<body class="prose">', body, "</body>"])


def _document(title: str, body: list[str]) -> str:
    head = f'<head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head>'
    return "\n".join(["<!doctype html>", '<html lang="en">', head, *body, "</html>", ""])


def _sentence(text: str) -> str:
    """A paragraph; names between backticks, as Markdown has them, are code."""
    return f"<p>{code_spans(text, escape, lambda code: f'<code>{escape(code)}</code>')}</p>"


def _kind(cells: tuple[str, ...]) -> str:
    """How a column is set: numbers to the right, words to the left, and long ones over several lines."""
    if max(map(len, cells)) > 60:
        return "sentence"
    filled = [cell for cell in cells if cell not in ("", "–", MISSING)]
    return "words" if filled and not any(cell.lstrip("+−<↓ ")[:1].isdigit() for cell in filled) else "number"


def _row(cells: list[str], kinds: list[str], tag: str) -> str:
    pairs = zip(cells, kinds, strict=True)
    return "<tr>" + "".join(f'<{tag} class="{kind}">{escape(cell)}</{tag}>' for cell, kind in pairs) + "</tr>"
