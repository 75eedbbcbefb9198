"""The rules of the house, as tests: floors, doors, registries, generated files."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from sap.pipeline import stages

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
ASIDE = {"status", "why", "unused"}  # for people: no rule calls them
BUDGETS = {"src/sap/**/*.py": 300, "workflow/scripts/*.py": 80, "workflow/rules/*.smk": 160, "Snakefile": 60}


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_imports_point_down_and_siblings_do_not_know_one_another():
    found = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache")
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_explains_itself_without_importing_torch(script):
    code = (
        f"import runpy, sys; sys.argv = ['{script}', '--help']\ntry: runpy.run_path('{script}', run_name='__main__')\n"
    )
    code += "except SystemExit as end: assert not end.code, end.code\nassert 'torch' not in sys.modules"
    found = run(sys.executable, "-c", code)
    assert found.returncode == 0, found.stderr
    assert "--out" in found.stdout or script.stem in ASIDE


@pytest.mark.parametrize("arguments", [[], ["merge"], ["status"], ["why"], ["unused"], ["tables"], ["figures"]])
def test_the_command_explains_itself_without_importing_torch(arguments):
    code = f"import sys; sys.argv = ['sap', *{arguments}, '--help']\nfrom sap.commands.main import main\n"
    code += "try: main()\nexcept SystemExit as end: assert not end.code, end.code\nassert 'torch' not in sys.modules"
    found = run(sys.executable, "-c", code)
    assert found.returncode == 0, found.stderr
    assert " ".join(["usage: sap", *arguments]) in found.stdout


def test_plan_and_report_run_without_torch():
    code = "import sys, sap.plan.study, sap.plan.manifest, sap.report.make\n"
    found = run(sys.executable, "-c", code + "assert 'torch' not in sys.modules")
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("pattern", BUDGETS)
def test_files_stay_small_enough_to_hold_in_the_head(pattern):
    long = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in ROOT.glob(pattern)}
    assert not {path: lines for path, lines in long.items() if lines > BUDGETS[pattern]}


def test_generated_files_are_in_sync_with_the_code():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for path, text in generate.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale; run python docs/generate.py"


@pytest.mark.parametrize("package", ["merge", "prune"])
def test_every_registered_name_lives_in_an_imported_file_of_its_package(package):
    """A file that was forgotten in __init__.py registers nothing, and this names it."""
    importlib.import_module(f"sap.{package}")
    modules = {entry["module"] for entry in importlib.import_module(f"sap.{package}._api").describe().values()}
    files = {path.stem for path in (ROOT / f"src/sap/{package}").glob("[!_]*.py")}
    decorated = {
        stem
        for stem in files
        if any(
            line.startswith(("@merge_method", "@criterion"))
            for line in (ROOT / f"src/sap/{package}/{stem}.py").read_text(encoding="utf-8").splitlines()
        )
    }
    assert {module.split(".")[-1] for module in modules} == decorated


def test_a_stage_has_one_name_for_its_room_rule_script_and_folder():
    rooms = {path.name for path in (ROOT / "src/sap/stages").glob("[!_]*") if path.is_dir()}
    rules = {path.stem for path in (ROOT / "workflow/rules").glob("*.smk")} - {"common", "declared"}
    assert rooms == rules == set(stages())
    for name, stage in stages().items():
        assert stage.name == name
        text = (ROOT / f"workflow/rules/{name}.smk").read_text(encoding="utf-8")
        assert text.count("\nrule ") + text.startswith("rule ") == 1
        assert f"rule {name}:" in text
        script = "tables" if name == "headroom_table" else name  # one table, before all others
        assert f'script=script("{script}")' in text, name
        for directive in ("log:", "benchmark:", "threads:", "params:", "output:", '"""'):
            assert directive in text, f"{name} lacks {directive}"


def test_every_text_file_is_opened_as_utf_8():
    """`ruff` (PLW1514) sees open() and the like; methods of paths whose type it cannot tell are found here."""
    forgotten = []
    for name in run("git", "ls-files", "*.py").stdout.split():
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            method = getattr(getattr(node, "func", None), "attr", None)
            if method in ("read_text", "write_text") and "encoding" not in {word.arg for word in node.keywords}:
                forgotten.append(f"{name}:{node.lineno}")
    assert not forgotten
