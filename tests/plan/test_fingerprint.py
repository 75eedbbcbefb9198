"""Code counts where a number depends on it: formulas do, comments, docstrings and messages do not."""

from pathlib import Path

import pytest

from sap.plan import fingerprint as module
from sap.plan.fingerprint import closure, fingerprint


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


def test_the_stages_do_not_reach_one_another():
    train = closure("train_client")
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


def test_editing_one_merge_method_leaves_the_others_alone():
    ties = closure("sap.evaluate.runner", "sap.compose", "sap.merge.ties")
    assert "sap.merge.ties" in ties
    assert "sap.merge.sum" not in ties
    assert "sap.merge" not in ties
