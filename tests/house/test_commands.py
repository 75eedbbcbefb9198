"""Every command that the documentation shows is one that its program takes: targets, options and files exist.

A new command in a page is found by itself. A block or a program of an unknown form is a failure, never skipped.
"""

import contextlib
import io
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from snakemake.cli import get_argument_parser

from sap.commands import main as sap

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "config/README.md",
    ROOT / "benchmarks/README.md",
    ROOT / "results/README.md",
]
REMARKS = [*ROOT.glob("experiments/*.yaml"), *ROOT.glob("profiles/*/*"), *ROOT.glob("benchmarks/*.py")]
OURS = ("make", "snakemake", "python", "sap")
NOT_OURS = {"source", "eval", "pip", "uv", "echo", "tr", "squeue", "scancel", "salloc", "sbatch"}
NOT_OURS |= {"ruff", "snakefmt", "lint-imports", "mypy", "pre-commit"}
OTHER_LANGUAGES = {
    "python",
    "yaml",
    "mermaid",
    "snakemake",
}  # of fenced blocks; one without a language holds commands, or is a drawing
DRAWINGS = ("data ─▶", "results/\n", "my_data/\n")  # how the blocks begin that hold none
VARIABLES = {"OMP_NUM_THREADS"}  # of others; ours are read somewhere in the code


class Command(NamedTuple):
    page: str
    text: str


class Wrong(AssertionError):
    """A command that would not run as it stands there."""


def commands_of(page: Path) -> list[Command]:
    """The commands in a page's fenced blocks and inline code."""
    text, found = page.read_text(encoding="utf-8"), []
    for language, block in re.findall(r"^[ ]*```(\w*)\n(.*?)^[ ]*```", text, re.S | re.M):
        if not language and not block.startswith(DRAWINGS):
            whole = re.sub(r"(\||\\)\n\s+", r"\1 ", block)  # a command over several lines
            found += [line for line in whole.splitlines() if line.strip()]
        elif language and language not in OTHER_LANGUAGES:
            raise Wrong(f"{page.name}: a block of {language}")
    prose = re.sub(r"^[ ]*```.*?^[ ]*```", "", text, flags=re.S | re.M)
    for span in re.findall(r"`([^`\n]+)`", prose):
        first = re.sub(r"^(\w+=\S+ )+", "", span).split(" ")[0]
        if " " in span and (first in OURS or first in NOT_OURS or first.endswith(".py")):
            found.append(span)
    return [Command(page.name, command) for command in found]


def remarks_of(page: Path) -> list[Command]:
    """The commands that stand indented, on lines of their own, in comments and docstrings."""
    lines = re.findall(r"^(?:#   |    )((?:make|snakemake|python) \S.*)$", page.read_text(encoding="utf-8"), re.M)
    return [Command(page.name, re.sub(r"\s{4,}\S.*$", "", line)) for line in lines]


COMMANDS = [command for page in PAGES for command in commands_of(page)]
COMMANDS += [command for page in REMARKS for command in remarks_of(page)]


def check(text: str) -> None:
    """Raise Wrong where a shell line is none that would run from the repository's root."""
    if text.split(" ")[0] in NOT_OURS and "|" not in text:
        return
    if "|" in text:
        for part in text.split("|"):
            check(part.strip())
        return
    words = shlex.split(text, comments=True)
    while words and re.fullmatch(r"\w+=.*", words[0]):
        _check_variable(words.pop(0).split("=")[0])
    program, *arguments = words
    if program in NOT_OURS:
        return
    if program not in OURS:
        raise Wrong(f"{text}: nobody knows how to check {program}. Teach it to tests/house/test_commands.py.")
    {"make": _check_make, "snakemake": _check_snakemake, "python": _check_python, "sap": _check_sap}[program](arguments)


def _check_variable(name: str) -> None:
    code = (path.read_text(encoding="utf-8") for path in ROOT.glob("src/sap/**/*.py"))
    if name not in VARIABLES and not any(f'"{name}"' in text for text in code):
        raise Wrong(f"nothing reads the variable {name}")


def _check_make(arguments: list[str]) -> None:
    """What make would run, line by line. The environment counts as made."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for argument in arguments:
        variable, is_one, _ = argument.partition("=")
        if is_one and f"$({variable})" not in makefile:
            raise Wrong(f"the Makefile does not read {variable}")
    command = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/.ready", *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise Wrong(found.stderr)
    for line in found.stdout.splitlines():
        check(line)


def _check_snakemake(arguments: list[str]) -> None:
    """Options as Snakemake's own parser takes them; config files, profiles, rules and targets that exist."""
    given = _parsed(lambda: get_argument_parser().parse_args(arguments))
    rules = {
        name
        for path in (ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk"))
        for name in re.findall(r"^rule (\w+):", path.read_text(encoding="utf-8"), re.M)
    }
    shown = "".join(path.read_text(encoding="utf-8") for path in PAGES)  # an overlay that a page tells to write
    for path in given.configfile or ():
        if not (ROOT / path).exists() and f"```yaml\n# {path}\n" not in shown:
            raise Wrong(f"no file {path}")
    if given.workflow_profile and not (ROOT / given.workflow_profile).is_dir():
        raise Wrong(f"no profile {given.workflow_profile}")
    for name in (*given.targets, *(given.forcerun or ()), *(given.until or ())):
        if name not in rules:
            raise Wrong(f"no rule {name}")


def _check_python(arguments: list[str]) -> None:
    """A file that exists, and arguments that its own `parse_args` takes; without one it takes none."""
    if arguments[:2] == ["-m", "pytest"]:
        return
    script = ROOT / arguments[0]
    if not script.is_file():
        raise Wrong(f"no script {arguments[0]}")
    if not re.search(r"(def|import) .*\bparse_args\b", script.read_text(encoding="utf-8")):
        if arguments[1:]:
            raise Wrong(f"{arguments[0]} takes no arguments, was given {arguments[1:]}")
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(script.parent))
        patch.setattr(sys, "argv", arguments)
        given = _parsed(runpy.run_path(str(script), run_name="shown")["parse_args"])
    _check_snakemake(getattr(given, "rest", []))


def _check_sap(arguments: list[str]) -> None:
    """Arguments that `sap` takes, and Snakemake what it passes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sap", *arguments])
        given = _parsed(sap.parse_args)
    _check_snakemake(getattr(given, "rest", []))


def _parsed(parse):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return parse()
    except SystemExit as end:
        raise Wrong(said.getvalue()[-300:]) from end


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS), ids=lambda command: f"{command.page}: {command.text}")
def test_a_command_that_the_documentation_shows_is_one_that_its_program_takes(command):
    check(command.text)


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        'make run ARG="-n"',
        'make status ARGS="--wach 10"',
        'make run ARGS="--configfile experiments/none.yaml"',
        "snakemake --no-such-option",
        "snakemake --configfile experiments/none.yaml",
        "snakemake --workflow-profile profiles/none",
        "snakemake --forcerun nothing",
        "snakemake nothing",
        "python workflow/scripts/none.py",
        "python workflow/scripts/merge.py a b --metod ties --out c",
        "sap merge a b --metod ties --out c",
        "sap why nothing",
        "sap train",
        "python docs/generate.py --all",
        "python benchmarks/evaluation.py digit --points 200",
        "SAP_NOTHING=1 snakemake",
        "frobnicate --all",
        "echo one | frobnicate",
    ],
)
def test_a_command_that_would_not_run_is_found(command):
    with pytest.raises(Wrong):
        check(command)


def test_commands_are_found_in_every_form_and_no_block_is_skipped_for_its_language(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "`make run` or `x = 1`, `run.py --a`\n```\necho a |\n    tr a b\nls # what\n```\n", encoding="utf-8"
    )
    assert [text for _, text in commands_of(page)] == ["echo a | tr a b", "ls # what", "make run", "run.py --a"]
    page.write_text("```sh\nmake run\n```\n", encoding="utf-8")
    with pytest.raises(Wrong, match="a block of sh"):
        commands_of(page)
    assert len(COMMANDS) > 60
