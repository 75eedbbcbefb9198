"""The script of the stage: what of its command reaches the judge, and what it does with rows that fail."""

import importlib.util
import json
import runpy
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from sap.evaluate import judging, load
from sap.evaluate.rows import Judged, RowStore
from sap.io import read_jsonl
from sap.job import Task
from tests.made_plans import NOTHING

SCRIPT = Path(__file__).parents[2] / "workflow/scripts/evaluate.py"
LABELS = np.array([0, 1, 1])


def row(point: str, key: str) -> dict:
    named = {"key": key, "point": point, "kind": "merge", "target": "a", "seed": 0, "settings": {}}
    return named | Judged("a")._asdict()


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Runs the script on the points p and q, of which some fail; returns (rows, failed) in its folder."""
    spec = importlib.util.spec_from_file_location("script_evaluate", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    plan, out = tmp_path / "plan.json", tmp_path / "shard"
    plan.write_text(json.dumps(NOTHING), encoding="utf-8")

    def run(keys: dict[str, str], broken: str = "") -> tuple[dict[str, dict], list[dict]]:
        def judged(task, args, plan, wanted, failed):
            for (point, *_), key in wanted.items():
                if point == broken:
                    failed.append(row(point, key) | {"stage": "evaluate", "error": "the Grams are singular"})
                else:
                    yield row(point, key), np.eye(3, dtype=np.float32)[[0, 1, 2]], LABELS

        monkeypatch.setattr(script, "judged", judged)
        monkeypatch.setattr(
            "sap.evaluate.rows.row_keys", lambda _: {(name, *Judged("a")): key for name, key in keys.items()}
        )
        script.main(Namespace(plan=str(plan), code="", save_every=1000.0, out=out))
        return {found["point"]: found for found in read_jsonl(out / "rows.jsonl")}, read_jsonl(out / "failed.jsonl")

    return run


def test_a_row_that_fails_is_listed_and_tried_again_the_next_time(evaluate):
    rows, failed = evaluate({"p": "1", "q": "1"}, broken="p")
    assert set(rows) == {"q"}
    assert [(line["point"], line["error"]) for line in failed] == [("p", "the Grams are singular")]
    again, failed = evaluate({"p": "1", "q": "1"})
    assert set(again) == {"p", "q"}
    assert failed == []
    assert again["q"]["predictions"] == rows["q"]["predictions"]


def test_the_answer_that_older_code_gave_is_none_for_a_row_that_fails_today(evaluate):
    evaluate({"p": "1", "q": "1"})
    rows, failed = evaluate({"p": "2", "q": "1"}, broken="p")
    assert set(rows) == {"q"}
    assert [line["point"] for line in failed] == ["p"]


def test_a_shard_of_which_every_row_fails_has_files_without_rows(evaluate, tmp_path):
    rows, failed = evaluate({"p": "1"}, broken="p")
    assert (rows, len(failed)) == ({}, 1)
    assert RowStore(tmp_path / "shard").rows == {}


@pytest.mark.parametrize(("size", "cached"), [(7, True), (9, False)])
def test_batch_size_and_cache_are_those_of_the_command(monkeypatch, size, cached):
    asked = []
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    monkeypatch.setattr(load, "load_fold", lambda *given: asked.append(given) or (None, {}, None))
    monkeypatch.setattr(judging, "judge_points", lambda *_: iter(()))
    flags = ["--batch-size", str(size), "--cache-activations", str(int(cached))]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--plan", "plan.json", *flags, "--out", "out"])
    script = runpy.run_path(str(SCRIPT))
    args = script["parse_args"]()
    assert list(script["judged"](Task("evaluate", args), args, {}, {}, [])) == []
    assert asked == [({}, "cpu", size, cached)]
