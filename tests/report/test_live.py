"""The table so far: rows that a running or killed evaluation has saved count, damaged ones do not."""

import json
from pathlib import Path

from sap.findings.main import main_table
from sap.io import read_jsonl, sealed, write_jsonl
from sap.plans import ReportPlan, read_plan
from sap.report.frame import collect
from sap.report.table import MISSING
from tests.report.synthetic import write_experiment


def experiment(tmp_path) -> tuple[ReportPlan, list[Path]]:
    """A made-up plan and the files of its rows."""
    plan = read_plan(write_experiment(tmp_path, domains=("a", "b"), seeds=(0,)), ReportPlan)
    return plan, [tmp_path / fold.rows for fold in plan.folds]


def test_the_rows_of_a_running_job_count_before_they_are_in_its_outputs(tmp_path):
    plan, (first, second) = experiment(tmp_path)
    whole = collect(plan, tmp_path).judged
    rows = read_jsonl(first)
    write_jsonl(first, rows[:5])
    write_jsonl(Path(f"{first.parent}.progress") / first.name, rows[3:])
    live = collect(plan, tmp_path, live=True).judged
    assert len(collect(plan, tmp_path).judged) == len(whole) - len(rows) + 5
    assert live.equals(whole)
    second.unlink()
    assert set(collect(plan, tmp_path, live=True).rows["target"]) == {plan.folds[0].target}


def test_a_row_saved_later_replaces_the_one_of_the_output(tmp_path):
    plan, (first, _) = experiment(tmp_path)
    row = read_jsonl(first)[0]
    write_jsonl(Path(f"{first.parent}.progress") / first.name, [sealed(row | {"accuracy": 0.123})])
    live = collect(plan, tmp_path, live=True).accuracy
    assert live[row["point"], row["target"], row["seed"], row["domain"]] == 0.123


def test_damaged_and_absent_rows_leave_their_cells_missing(tmp_path):
    plan, (first, _) = experiment(tmp_path)
    zero_shot = next(row for row in read_jsonl(first) if row["kind"] == "zero_shot" and row["domain"] == row["target"])
    damaged = [row | {"accuracy": 1.0} if row == zero_shot else row for row in read_jsonl(first)]
    first.write_text("".join(json.dumps(row) + "\n" for row in damaged), encoding="utf-8")
    table = main_table(collect(plan, tmp_path, live=True), controls=False)
    floors = dict(table.sections())["Floors"]
    (printed,) = (row for row in floors if row[0] == "zero-shot")
    assert dict(zip(table.headers(), printed, strict=True))[zero_shot["target"]] == MISSING
