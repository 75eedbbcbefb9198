"""Names as data: one function for each format in which a name of somebody else could be read as a command.

Domains, classes, files and clients are called as their owners like. Whoever renders a text calls the function of its
format, once, on everything that is not markup of its own. HTML has `html.escape` of the standard library.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = re.compile("'*[=+\\-@＝＋－＠\t\r\n]")  # full-width signs, too: Japanese spreadsheets obey them
# What CommonMark and GitHub read as markup inside a line; names such as `a_b` and intervals such as [0, 1] stay as
# they are: an underscore inside a word and brackets without a target mean nothing.
_MARKUP = re.compile(
    r"[\\`*|~$]|<(?=[A-Za-z/!?])|&(?=[#\w])|(?<=\])[(\[]|(?<![^\W_])_|_(?![^\W_])|(?<=:)//|(?i:(?<=www)\.)"
)
_ENTITIES = {"<": "&lt;", "&": "&amp;"}  # not every renderer knows a backslash here

_LATEX = {
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
    "`": r"\textasciigrave{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "°": r"$^{\circ}$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "●": r"$\bullet$",
    "○": r"$\circ$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
_ACCENTS = {  # combining mark -> the command that sets it in every font encoding
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
    "\u0331": "b",
}
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho",
    "ς": "varsigma", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Υ": "Upsilon",
    "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_LATEX |= {letter: rf"$\{name}$" for letter, name in _GREEK.items()}
_LATEX |= dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))  # plain LaTeX has no commands for these
_LATEX |= {raised: f"$^{{{digit}}}$" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_LATEX |= {lowered: f"$_{{{digit}}}$" for digit, lowered in enumerate("₀₁₂₃₄₅₆₇₈₉")}


def terminal(text: str) -> str:
    r"""A text in one line that a terminal only shows: control characters, line breaks among them, as `\x1b`, `\n`.

    So are marks that turn the direction of writing, and bytes of a file name that are no UTF-8, `\xfc`.
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1].replace("\\udc", "\\x"), text)


def csv_cell(text: str) -> str:
    """A text cell that no spreadsheet takes for a formula: one `'` more where it begins with = + - @ or a break.

    Full-width signs count. For texts only: a number such as -0.5 stays a number. `plain_cell` takes the sign off again.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def plain_cell(text: str) -> str:
    """The text that `csv_cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def markdown(text: str) -> str:
    """A text in one line that Markdown shows as it is: no markup, no HTML, no link, nothing that is loaded."""
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), terminal(_one_line(text)))


def latex(text: str) -> str:
    """A text in one line for any LaTeX document without further packages: ASCII only.

    Greek and our symbols become mathematics, accents commands, and what plain LaTeX cannot set its code, U+30AF.
    """
    printed = "".join(map(_latex_character, unicodedata.normalize("NFC", _one_line(text))))
    printed = re.sub("-(?=-)", "-{}", printed) if "--" in text else printed  # two hyphens of a name are no dash
    return f"{{}}{printed}" if printed[:1] in ("[", "*") else printed  # else an argument of the row's end before it


def code_spans(text: str, plain: Callable[[str], str], code: Callable[[str], str]) -> str:
    """Our own sentences have one markup, `names` between backticks: `code` renders those, `plain` the rest."""
    return "".join((code if i % 2 else plain)(part) for i, part in enumerate(re.split("`([^`]+)`", text)))


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@cache
def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii() and character.isprintable():
        return character
    base, *marks = tuple(unicodedata.normalize("NFD", character))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii():
        return f"\\{_ACCENTS[marks[0]]}{{{base}}}"
    return rf"\texttt{{U+{ord(character):04X}}}"
