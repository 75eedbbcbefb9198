"""Rows that failed: named, marked where they are missing, and handed back; every table and figure is made."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sap.errors import SapError
from sap.failures import write_failures
from sap.findings.draw_main import draw_main
from sap.findings.main import main_table
from sap.io import read_jsonl, save_tensors
from sap.report.catalogue import FIGURES, TABLES
from sap.report.failures import marked
from sap.report.frame import load_results
from sap.report.make import make_exhibits
from sap.report.style import styled
from sap.report.table import Table
from tests.report.synthetic import write_experiment

ROOT = Path(__file__).parents[2]
DOMAINS = ("sketch", "outlined", "printed")
TIES = "merge-none-{method: ties}-1.0"
NAN = "the merged model predicts NaN: some update is too large to be used."


def fail(plan, point, sentence, folds=None):
    """Take a point's rows out of the experiment and say why, as `evaluate` and `audit` do."""
    known = json.loads(plan.read_text(encoding="utf-8"))
    for stage, file in (("evaluate", "rows.jsonl"), ("audit", "audit.jsonl")):
        for path in plan.parents[1].glob(f"{stage}/**/{file}"):
            rows = read_jsonl(path)
            gone = [row for row in rows if row["point"] == point and (folds is None or row["target"] in folds)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows if row not in gone), encoding="utf-8")
            keys = ("point", "target", "seed") + (("domain", "images") if stage == "evaluate" else ())
            failed = {json.dumps({key: row[key] for key in keys}) for row in gone}
            before = read_jsonl(path.with_name("failed.jsonl")) if path.with_name("failed.jsonl").exists() else []
            failed = [{"stage": stage, "error": sentence, **json.loads(text)} for text in sorted(failed)]
            write_failures(path.parent, before + failed)
    known["failed"] = sorted(
        str(path.relative_to(plan.parents[2])) for path in plan.parents[1].glob("*/**/failed.jsonl")
    )
    plan.write_text(json.dumps(known), encoding="utf-8")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A smaller experiment than the other tests have: 3 domains × 2 seeds, main table and sweep."""
    root = tmp_path_factory.mktemp("small")
    return write_experiment(root, views=("main", "sweep"), domains=DOMAINS, seeds=(0, 1))


@pytest.fixture(scope="module")
def results(plan):
    return load_results(plan)


@pytest.fixture(scope="module")
def undamaged(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undamaged")
    make_exhibits("tables", results, folder)
    return folder


@pytest.fixture(scope="module")
def swept(results):
    """A point of the sweep alone."""
    return next(point for point in results.in_view("sweep") if list(results.points.loc[point, "views"]) == ["sweep"])


@pytest.fixture(scope="module")
def damaged(plan, swept, tmp_path_factory):
    """The experiment in which ties fails everywhere and a point of the sweep in one fold."""
    root = tmp_path_factory.mktemp("failed")
    shutil.copytree(plan.parents[1], root / "results")
    copy = root / "results/plans" / plan.name
    fail(copy, TIES, NAN)
    fail(copy, swept, "the Grams are singular", folds=("printed",))
    return copy


@pytest.fixture(scope="module")
def written(damaged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    make_exhibits("tables", load_results(damaged), folder)
    return folder


def lines(path, **wanted):
    with open(path, encoding="utf-8", newline="") as handle:
        return [row for row in csv.DictReader(handle) if all(row[key] == value for key, value in wanted.items())]


def printed(folder, name, start):
    """Cells of the one printed row that starts so."""
    text = (folder / f"{name}.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_table_and_every_figure_is_made(damaged, written, tmp_path):
    assert {path.stem for path in written.glob("*.csv")} == set(TABLES) - {"headroom"}
    make_exhibits("figures", load_results(damaged), tmp_path)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(FIGURES)


def test_a_failed_row_says_so_and_the_notes_say_why(written):
    cells = printed(written, "main", "ties of updates")
    assert cells[1:7] == ["failed"] * 6
    assert "missing" not in cells
    assert lines(written / "main.csv", point=TIES)[0]["failed"] == NAN
    for suffix in ("md", "tex", "html"):
        assert f"Failed: ties of updates: {NAN}" in (written / f"main.{suffix}").read_text(encoding="utf-8")
    for name in ("metrics", "comparisons"):
        (row, *_) = lines(written / f"{name}.csv", point=TIES)
        assert row["failed"] == NAN
        assert "| ties of updates | failed |" in (written / f"{name}.md").read_text(encoding="utf-8")


def test_the_summary_says_how_many_rows_failed_and_the_main_figure_which(damaged, written):
    text = (written / "summary.md").read_text(encoding="utf-8")
    assert "- failed: 26 rows of 2 methods or clients could not be computed" in text
    with styled():
        figure = draw_main(load_results(damaged))
    assert "failed" in {text.get_text() for text in figure.axes[-1].texts}


def test_all_other_rows_are_those_of_an_experiment_without_failures(undamaged, written):
    for name in ("main", "sweep"):
        for row in lines(written / f"{name}.csv"):
            (other,) = (
                lines(undamaged / f"{name}.csv", method=row["method"])
                if name == "main"
                else lines(undamaged / f"{name}.csv", point=row["point"])
            )
            reason = row.pop("failed")
            assert (row == other) == (not reason)


def test_a_point_that_failed_in_one_fold_keeps_its_other_cells(results, written, swept):
    (row,) = lines(written / "sweep.csv", point=swept)
    assert row["failed"] == "the Grams are singular"
    assert row["accuracy__printed"] == row["mean"] == ""
    assert all(row[f"accuracy__{domain}"] for domain in DOMAINS if domain != "printed")
    assert "failed" in (written / "sweep.md").read_text(encoding="utf-8")


def test_the_list_of_what_failed_names_method_place_and_sentence(written, swept):
    audited, judged = lines(written / "failed.csv", point=TIES)
    assert (audited["stage"], judged["stage"]) == ("audit", "evaluate")
    assert judged["what"] == "ties of updates"
    assert int(judged["rows"]) == 3 * 2 * 3  # folds × seeds × domains
    assert "printed; seed 1" in judged["where"]
    assert "printed on outlined; seed 1" in judged["where"]
    (other,) = lines(written / "failed.csv", point=swept)
    assert other["where"] == "printed; seed 0, printed; seed 1"
    text = (written / "failed.md").read_text(encoding="utf-8")
    assert f"| {NAN} |" in text


def test_without_failures_the_list_is_a_sentence_and_no_table_is_marked(undamaged):
    assert "Every row could be computed." in (undamaged / "failed.md").read_text(encoding="utf-8")
    texts = [path.read_text(encoding="utf-8") for path in undamaged.glob("*.md")]
    assert not [text for text in texts if "Failed: " in text or "| failed |" in text]
    assert "failed" not in lines(undamaged / "main.csv")[0]


def test_a_note_quotes_a_few_failures_and_counts_the_others(plan, results, tmp_path):
    shutil.copytree(plan.parents[1], tmp_path / "results")
    copy = tmp_path / "results/plans" / plan.name
    for number, point in enumerate(results.in_view("sweep")[:8]):
        fail(copy, point, f"sentence {number}", folds=("printed",))
    found = load_results(copy)
    notes = marked(main_table(found), ("evaluate",), found).notes
    assert sum(note.startswith("Failed: ") for note in notes) == 5
    assert notes[-1] == "Failed, too: 3 more, see `failed.md`."


def test_a_table_that_reads_other_stages_is_left_alone(damaged):
    found = load_results(damaged)
    table = Table(found.points.reset_index(), [], "")
    assert marked(table, TABLES["towers"].reads, found) is table
    assert marked(table, TABLES["audit"].reads, found) is not table


def complete(plan):
    command = [
        sys.executable,
        ROOT / "workflow/scripts/complete.py",
        "--plan",
        plan,
        "--out",
        "results/tables/synthetic",
    ]
    return subprocess.run(command, cwd=plan.parents[2], capture_output=True, text=True, check=False)


def test_the_last_step_fails_with_the_sentences_until_nothing_fails_any_more(damaged, tmp_path):
    shutil.copytree(damaged.parents[1], tmp_path / "results")
    copy = tmp_path / "results/plans" / damaged.name
    files = sorted((tmp_path / "results").glob("*/**/failed.jsonl"))
    with_failures = [path for path in files if read_jsonl(path)]
    for _ in range(2):  # SLURM tries a failed job again
        found = complete(copy)
        assert found.returncode == 1
        assert found.stderr.startswith("error: 26 rows could not be computed.")
        assert "- evaluate: ties of updates (" in found.stderr
        assert f"): {NAN}\n" in found.stderr
        assert not (tmp_path / "results/tables/synthetic/complete.txt").exists()
    # What failed is an output that is missing now, so the next run does its job again; until then it is still known.
    assert [path for path in files if path.exists()] == [path for path in files if path not in with_failures]
    assert len(load_results(copy).failures) == 26
    for path in with_failures:
        path.write_text("", encoding="utf-8")
    found = complete(copy)
    assert (found.returncode, found.stderr) == (0, "")
    marker = tmp_path / "results/tables/synthetic/complete.txt"
    assert marker.read_text(encoding="utf-8") == "Every row could be computed.\n"


def test_rows_that_failed_in_another_experiment_only_are_not_ours(damaged, tmp_path):
    shutil.copytree(damaged.parents[1], tmp_path / "results")
    copy = tmp_path / "results/plans" / damaged.name
    known = json.loads(copy.read_text(encoding="utf-8"))
    known["points"] = [point for point in known["points"] if point["id"] != TIES]
    copy.write_text(json.dumps(known), encoding="utf-8")
    assert set(load_results(copy).failures["error"]) == {"the Grams are singular"}


def test_a_domain_whose_headroom_failed_is_left_out_with_a_note(plan, tmp_path):
    shutil.copytree(plan.parents[1], tmp_path / "results")
    copy = tmp_path / "results/plans" / plan.name
    known = json.loads(copy.read_text(encoding="utf-8"))
    jobs = [job for job in known["jobs"]["headroom"] if job["domain"] == "printed"]
    for job in jobs:
        folder = tmp_path / job["folder"]
        save_tensors(folder / "headroom.safetensors", {})
        failure = {"stage": "headroom", "domain": "printed", "seed": job["seed"], "error": "it holds one class"}
        write_failures(folder, [failure])
    known["failed"] = [f"{job['folder']}/failed.jsonl" for job in jobs]
    copy.write_text(json.dumps(known), encoding="utf-8")
    make_exhibits("headroom_table", load_results(copy), tmp_path / "tables")
    assert {row["domain"] for row in lines(tmp_path / "tables/headroom.csv")} == {"sketch", "outlined"}
    text = (tmp_path / "tables/headroom.md").read_text(encoding="utf-8")
    assert "Failed: domain printed: it holds one class" in text


def test_a_list_of_failures_that_is_damaged_is_refused(damaged, tmp_path):
    shutil.copytree(damaged.parents[1], tmp_path / "results")
    path = tmp_path / "results/evaluate/e/printed/seed-0/shard-0/failed.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SapError, match=r"failed\.jsonl is damaged \(1 of its rows.*snakemake --forcerun evaluate"):
        load_results(tmp_path / "results/plans" / damaged.name)
