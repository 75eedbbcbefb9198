"""The script of the stage: a merge that cannot be audited costs no other its rows."""

from sap.evaluate.rows import Judged
from sap.io import read_jsonl
from tests.probe.small_study import (
    HALF,
    WHOLE,
    fold_plan,
    merge_point,
    write_upload,
)
from tests.scripts import run_script

DOMAINS = ("red", "green")


def test_a_merge_that_cannot_be_audited_costs_no_other_its_rows(tmp_path, tiny_clip_folder, monkeypatch):
    monkeypatch.setattr(
        "sap.evaluate.rows.row_keys", lambda plan: {(point.id, *Judged("none")): point.id for point in plan.points}
    )
    for domain in DOMAINS:
        write_upload(tiny_clip_folder, tmp_path / "clients" / domain, 0.3)
    endless = merge_point("endless", scale=1e300)  # beyond float32: its rank cannot be counted
    refused = merge_point("refused", merge={"method": "krum", "f": 1})
    plan = fold_plan(tmp_path, tiny_clip_folder, DOMAINS, [WHOLE, endless, refused, HALF])
    out = run_script("audit", plan, tmp_path / "audit")
    rows = read_jsonl(out / "audit.jsonl")
    assert {row["point"] for row in rows} == {"whole", "half"}
    failed = {row["point"]: row["error"] for row in read_jsonl(out / "failed.jsonl")}
    assert set(failed) == {"endless", "refused"}
    assert failed["endless"].startswith("LinAlgError: linalg.svd: The algorithm failed to converge")
    assert "krum: needs n >= 2f+3 clients" in failed["refused"]
    plan["points"] = [WHOLE, HALF]
    run_script("audit", plan, tmp_path / "audit")
    assert read_jsonl(out / "audit.jsonl") == rows
    assert read_jsonl(out / "failed.jsonl") == []
