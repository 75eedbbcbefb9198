"""pdflatex on fragments, as a paper would \\input them."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

REQUIRED = bool(os.environ.get("SAP_REQUIRE_LATEX"))  # where it is set, the tests run or fail
needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None and not REQUIRED, reason="pdflatex is not installed (texlive-latex-recommended)"
)


def typeset(fragments: Iterable[str], folder: Path) -> None:
    """Compile the fragments as one paper that loads booktabs alone; fails with what LaTeX said."""
    lines = [r"\documentclass[twocolumn]{article}", r"\usepackage{booktabs}", r"\begin{document}"]
    pages = [f"{fragment}\n\\clearpage" for fragment in fragments]
    (folder / "paper.tex").write_text("\n".join([*lines, *pages, r"\end{document}", ""]), encoding="ascii")
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:].decode("latin-1")
