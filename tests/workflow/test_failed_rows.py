"""One row that cannot be computed costs no other its tables, and the run says so with its exit status."""

import re

import pytest

from sap.io import read_csv, read_jsonl
from sap.report.catalogue import FIGURES, TABLES
from tests.workflow.small_study import MINI, Workflow, job_counts

pytestmark = pytest.mark.slow

TOO_LARGE = {"label": "too large", "views": ["main"], "scale": 1e38}  # only its predictions show that


def rows_of(workflow: Workflow) -> dict[tuple[str, str, str], str]:
    """(target, point, domain) -> digest of its predictions, of every row."""
    return {
        (path.parts[-4], row["point"], row["domain"]): row["predictions"]
        for path in workflow.glob("results/evaluate/*/*/seed-0/shard-0/rows.jsonl")
        for row in read_jsonl(path)
    }


def judged(workflow: Workflow) -> list[str]:
    """How many rows each evaluation had to judge the last time, by its progress bar."""
    logs = workflow.glob("logs/evaluate/*/*/seed-0/shard-0.log")
    return [re.search(r"rows: .*/(\d+) \[", log.read_text(encoding="utf-8"))[1] for log in logs]


def test_a_row_that_fails_costs_no_other_its_tables_and_is_tried_again_until_it_is_gone(copied):
    before = rows_of(copied)
    copied.configure(MINI | {"points": [*MINI["points"], TOO_LARGE]})

    first = copied.run(check=False)
    assert first.returncode != 0
    assert set(job_counts(first.stdout)) == {"evaluate", "audit", "headroom_table", "tables", "figures"}
    assert rows_of(copied) == before
    tables = copied.folder / "results/tables/mini"
    assert not (tables / "complete.txt").exists()
    told = first.stdout.split("error: ")[1]
    assert told.startswith("2 rows could not be computed.")  # one in each fold
    assert "- evaluate: too large (sketch; seed 0, printed; seed 0): the merged model predicts NaN" in told

    assert {path.stem for path in tables.glob("*.csv")} == set(TABLES)
    assert {path.stem for path in copied.glob("results/figures/mini/*.png")} == set(FIGURES)
    assert "| too large | failed | failed |" in (tables / "main.md").read_text(encoding="utf-8")
    assert {row["method"] for row in read_csv(tables / "main.csv") if row["failed"]} == {"too large"}
    assert [(row["what"], row["rows"]) for row in read_csv(tables / "failed.csv")] == [("too large", "2")]

    again = copied.run(check=False)  # the same row fails again, and no other is judged
    assert again.returncode != 0
    assert told.splitlines()[0] in again.stdout
    assert {rule for rule in job_counts(again.stdout) if rule not in ("tables", "figures")} == {"evaluate"}
    assert judged(copied) == ["1", "1"]
    assert rows_of(copied) == before

    copied.configure(MINI)
    assert copied.run().returncode == 0
    assert (tables / "complete.txt").exists()
    assert rows_of(copied) == before
    assert "Nothing to be done" in copied.run().stdout
