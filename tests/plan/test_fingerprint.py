"""Code counts where a number depends on it: formulas do, comments, docstrings and messages do not."""

import re
from pathlib import Path

import pytest

from sap.pipeline import build_study
from sap.plan import fingerprint as module
from sap.plan.code import code_of
from sap.plan.fingerprint import closure, fingerprint
from sap.plan.folds import point_modules
from sap.plan.schema import schema

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package `sap` with a -> b, and c that nobody imports."""
    files = {
        "a.py": '"""Doc."""\nfrom sap import b\n\ndef f(x):\n    return b.g(x) + 1\n',
        "b.py": "def g(x):\n    return 2 * x\n",
        "c.py": "X = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path)

    def edit(name: str, old: str, new: str) -> None:
        path = Path(tmp_path / name)
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        for cached in (fingerprint, module._parsed, module._tree, module._imports):
            cached.cache_clear()

    edit("a.py", "", "")
    yield edit
    for cached in (fingerprint, module._parsed, module._tree, module._imports):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("edit", "changes"),
    [
        (("a.py", '"""Doc."""', '"""Another docstring."""'), False),
        (("a.py", "def f(x):", "def f(x):  # a comment"), False),
        (("c.py", "1", "2"), False),
        (("a.py", "+ 1", "+ 2"), True),
        (("b.py", "2 * x", "3 * x"), True),
    ],
)
def test_only_formulas_in_the_closure_count(toy, edit, changes):
    before = fingerprint("sap.a")
    toy(*edit)
    assert (fingerprint("sap.a") != before) == changes


def test_a_script_counts_by_its_name_and_its_code_and_not_by_where_it_lies(toy, tmp_path):
    found = []
    for folder, text in (("here", "import sap.a\n"), ("there", "import sap.a\n"), ("edited", "import sap.b\n")):
        script = tmp_path / folder / "job.py"
        script.parent.mkdir()
        script.write_text(text, encoding="utf-8")
        assert "job" in closure(script)
        found.append(fingerprint(script))
    assert found[0] == found[1] != found[2]


def test_the_stages_do_not_reach_one_another():
    train = closure(SCRIPTS / "train_client.py")
    assert "sap.train.client" in train or any(name.startswith("sap.train.") for name in train)
    assert not [
        name
        for name in train
        if name.split(".")[:2]
        in (
            ["sap", "merge"],
            ["sap", "prune"],
            ["sap", "evaluate"],
            ["sap", "saliency"],
            ["sap", "report"],
            ["sap", "plan"],
        )
    ]


MERGE = {"kind": "merge", "criterion": "none", "merge": {"method": "mean"}}
DEFS = schema()["$defs"]
REGISTERED = [
    *((name, MERGE | {"merge": {"method": name}}, entry["module"]) for name, entry in DEFS["merge"].items()),
    *((name, MERGE | {"criterion": name}, entry["module"]) for name, entry in DEFS["criteria"].items()),
    *((name, MERGE | {"attack": {"kind": name}}, entry["module"]) for name, entry in DEFS["attacks"].items()),
    *((name, MERGE | {"finish": {"method": name}}, entry["module"]) for name, entry in DEFS["finishes"].items()),
    *((name, MERGE | {"kind": name}, entry["module"]) for name, entry in DEFS["kinds"].items()),
]


@pytest.mark.parametrize(("settings", "file"), [case[1:] for case in REGISTERED], ids=[case[0] for case in REGISTERED])
def test_the_file_of_whatever_is_registered_is_in_the_code_of_the_points_that_use_it(settings, file):
    assert file in closure(*point_modules(settings))
    assert file not in closure(*point_modules(MERGE)) or file in ("sap.merge.mean", "sap.serve.merge")


# How the stages that look a method up by its name get its file into their fingerprint.
BY_PLAN = {"evaluate", "audit", "probe", "privacy", "merge", "prune"}  # their plan holds the code of each of its points
NONE = {"headroom", "diagnose", "compare_masks"}  # they import a module that could; compare_masks names its criteria


def test_every_stage_that_looks_up_registered_names_takes_their_files_into_its_fingerprint():
    """A registry is filled by scanning a folder, so no import leads from a look-up to the file."""
    looking = {
        "sap.evaluate.judging",
        "sap.serve._api",
        "sap.compose",
        "sap.finish._api",
        "sap.prune.scorer",
        "sap.attack._api",
        "sap.mergetool",
    }
    assert looking == {
        ".".join(("sap", *path.relative_to(module.ROOT).with_suffix("").parts))
        for path in module.ROOT.rglob("*.py")
        if re.search(r"\b(METHODS|CRITERIA|ATTACKS|FINISHES|KINDS)\[", path.read_text(encoding="utf-8"))
    }
    assert {path.stem for path in SCRIPTS.glob("*.py") if looking & set(closure(path))} == (BY_PLAN | NONE)


@pytest.mark.parametrize("stage", ["audit", "probe", "privacy", "merge", "evaluate"])
def test_every_plan_of_points_holds_the_code_of_each(evidence, stage):
    study = build_study(evidence)
    place = {"target": study.targets[0], "seed": 0, "shard": 0, "point": study.in_view("main")[0].id}
    declared = study.stages[stage]
    points = declared.plan(study, **{name: place[name] for name in declared.wildcards}).points
    assert points
    pruned = study.stages["prune"].plan(study, point=place["point"], trainee=study.clients[0].name, seed=0)
    for point in (*points, pruned.point):
        assert point.code == code_of(study.counted_packages, *point_modules(point.settings))


def test_the_code_that_reads_and_merges_is_in_the_code_of_every_row():
    """Rows are kept by their key alone, whatever else their job runs."""
    assert {"sap.evaluate.load", "sap.evaluate.composer", "sap.evaluate.runner", "sap.compose"} <= set(
        closure(*point_modules(MERGE))
    )


def test_editing_one_merge_method_leaves_the_others_alone():
    ties = closure(*point_modules(MERGE | {"merge": {"method": "ties"}}))
    assert "sap.merge.ties" in ties
    assert "sap.merge.sum" not in ties
