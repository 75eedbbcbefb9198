"""A job while it runs: its plan, its device, and the meta.json that ends it."""

import pytest

from sap import job
from sap.errors import SapError
from sap.io import read_meta, write_json
from sap.job import Task, job_parser
from sap.plans import PublicPlan


@pytest.fixture
def task(tmp_path):
    write_json(tmp_path / "plan.json", {"anchors": "a", "size": 3})
    given = ["--plan", str(tmp_path / "plan.json"), "--code", "c0de", "--out", str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    return Task("toy", job_parser("A toy.").parse_args(given))


def test_a_job_reads_its_plan_as_the_type_that_it_expects(task):
    assert task.plan(PublicPlan) == PublicPlan(anchors="a", size=3)
    with pytest.raises(SapError, match="it is no Task"):
        task.plan(Task)


def test_it_ends_with_its_stage_settings_inputs_code_and_device(task, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "claim_device", lambda: ("cuda", "slot"))
    monkeypatch.setattr("sap.provenance.device_name", lambda device: f"a {device}")
    monkeypatch.setattr("sap.provenance.peak_memory", lambda device: 7)
    assert task.meta({}, {})["device"] == "a cpu"  # nobody asked for one
    assert task.device == "cuda"
    task.finish({"x": 1}, {"plan": tmp_path / "plan.json"}, seed=4)
    meta = read_meta(task.out)
    assert (meta["stage"], meta["settings"], meta["code"], meta["device"]) == ("toy", {"x": 1}, "c0de", "a cuda")
    assert list(meta["inputs"]) == ["plan"]
    assert meta["seed"] == 4
    assert task.upload == task.out / "upload"
