"""What goes wrong ends in equal results or one clear sentence, and nothing half-written; see docs/faults.md."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
import torch

from sap.io import load_tensors, read_jsonl, read_meta, save_tensors
from sap.provenance import save_meta
from tests.workflow.compare import differences
from tests.workflow.small_study import MINI, Workflow, edited, job_counts

pytestmark = pytest.mark.slow


def reset_fold(workflow: Workflow, target: str):
    """Forget one fold's rows, so that it is computed again; returns its shard's folder, relative to the study's."""
    (folder,) = workflow.glob(f"results/evaluate/*/{target}/seed-0/shard-0")
    shutil.rmtree(folder)
    return folder.relative_to(workflow.folder)


def error_of(printed: str) -> str:
    return next(line.strip() for line in printed.splitlines() if line.strip().startswith("error: "))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_nan(path):
    tensors = load_tensors(path)
    name = next(iter(tensors))
    tensors[name][0, 0] = torch.nan
    save_tensors(path, tensors)


def with_other_layers(path):
    tensors = load_tensors(path)
    save_tensors(path, {name.replace("resblocks.1", "resblocks.7"): tensor for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("damage", "sentence"), [(with_nan, "NaN or Inf"), (with_other_layers, "resblocks.7")], ids=["NaN", "other layers"]
)
def test_an_upload_that_cannot_be_merged_stops_with_its_path_and_the_next_step(copied, damage, sentence):
    (path,) = copied.glob("results/train_client/*/printed/seed-0/upload/adapter_model.safetensors")
    damage(path)
    save_meta(path.parent, read_meta(path.parent))  # the client itself uploaded it
    fold = reset_fold(copied, "sketch")
    found = copied.run("--", f"{fold}/rows.jsonl", check=False)
    assert found.returncode != 0
    assert sentence in error_of(found.stdout)
    assert str(path.parent.relative_to(copied.folder)) in error_of(found.stdout)
    assert "Traceback" not in found.stdout
    assert not list((copied.folder / fold).rglob("*.jsonl"))
    assert not list(copied.folder.rglob("*.tmp-*"))


def test_the_next_step_that_a_damaged_file_names_heals_the_study(finished, copied):
    (path,) = copied.glob("results/train_client/*/printed/seed-0/upload/adapter_model.safetensors")
    cut(path)
    fold = reset_fold(copied, "sketch")
    found = copied.run("--", f"{fold}/rows.jsonl", check=False)
    named = re.search(
        r"adapter_model\.safetensors is damaged .* Delete the folder (.*) and run", error_of(found.stdout)
    )
    shutil.rmtree(copied.folder / named[1])
    copied.run("--", f"{fold}/rows.jsonl")
    assert differences(finished, copied) == []


STOPPED = """
import os, runpy, sys
from sap.evaluate import judging

def judge_points(*given, judge=judging.judge_points):
    for number, found in enumerate(judge(*given)):
        if number == 5:
            os.kill(os.getpid(), {signal})
        yield found

judging.judge_points = judge_points
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(("stop", "every"), [(signal.SIGKILL, 0), (signal.SIGTERM, 1000)])
def test_rows_of_a_killed_evaluation_are_not_computed_again(finished, copied, stop, every):
    fold = reset_fold(copied, "sketch")
    printed = copied.run("--dry-run", "--printshellcmds", "--", f"{fold}/rows.jsonl").stdout
    command = shlex.split(re.search(r"python (workflow/scripts/evaluate.*) &>", printed)[1])
    (copied.folder / fold).mkdir()
    code = STOPPED.format(signal=int(stop))
    job = subprocess.run(
        [sys.executable, "-c", code, *command, "--save-every", str(every)],
        cwd=copied.folder,
        env=os.environ | {"SAP_DEVICE": "cpu"},
        check=False,
    )
    assert job.returncode == (-stop if stop == signal.SIGKILL else 128 + stop)
    side = copied.folder / f"{fold}.progress" / "rows.jsonl"
    assert len(read_jsonl(side)) == 5
    copied.run("--", f"{fold}/rows.jsonl")
    (log,) = copied.glob("logs/evaluate/*/sketch/seed-0/shard-0.log")
    rows = len(read_jsonl(copied.folder / fold / "rows.jsonl"))
    assert f"/{rows - 5} [" in log.read_text(encoding="utf-8")
    assert not side.parent.exists()
    assert differences(finished, copied) == []


def test_a_second_run_in_the_folder_waits_for_nobody_and_says_so(copied):
    fold = reset_fold(copied, "sketch")
    with (
        tempfile.TemporaryFile("w", encoding="utf-8") as output,
        copied.started(output, "--", f"{fold}/rows.jsonl") as first,
    ):
        while not list(copied.folder.glob(".snakemake/locks/*")) and first.poll() is None:
            time.sleep(0.05)
        second = copied.run("--", f"{fold}/predictions.safetensors", check=False)
        assert first.wait() == 0
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stdout


HOLD = "from sap.plan.folders import claim_results; claim_results(); print('held', flush=True); input()"


def test_a_run_in_another_clone_that_shares_the_results_ends_with_one_sentence_before_its_first_job(copied, tmp_path):
    fold = reset_fold(copied, "sketch")
    clone = Workflow(tmp_path / "clone", MINI)
    (clone.folder / "results").symlink_to(copied.folder / "results")
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=copied.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout.readline() == "held\n"
        assert job_counts(clone.run("--dry-run", "--", f"{fold}/rows.jsonl").stdout) == {"evaluate": 1}
        second = clone.run("--", f"{fold}/rows.jsonl", check=False)
    finally:
        first.kill()
        first.communicate()
    assert second.returncode != 0
    said = f"error: another run is making results/: of {copied.folder} on .*, process {first.pid}. Both would write"
    assert re.search(said, second.stdout)
    assert "Traceback" not in second.stdout
    assert not (copied.folder / fold).exists()
    clone.run("--", f"{fold}/rows.jsonl")
    assert not clone.glob(".snakemake/locks/*")


@pytest.mark.ci
def test_two_runs_without_the_lock_end_with_equal_results(finished, copied):
    for stage in ("evaluate", "audit", "score_client", "diagnose", "tables", "figures"):
        shutil.rmtree(copied.folder / "results" / stage)
    with tempfile.TemporaryFile("w", encoding="utf-8") as output, copied.started(output, "--nolock") as first:
        copied.run("--nolock", check=False)
        first.wait()
    copied.run()
    assert differences(finished, copied) == []


def test_a_clock_that_jumped_stops_with_both_files_named_and_touching_them_heals(finished, copied):
    (client,) = copied.glob("results/train_client/*/printed/seed-0/upload")
    shutil.rmtree(client)
    tomorrow = time.time() + 86400
    inputs = copied.glob("results/embed_classes/*/*")
    for path in inputs:
        os.utime(path, (tomorrow, tomorrow))
    target = str(client.relative_to(copied.folder) / "meta.json")
    found = copied.run("--", target, check=False)
    assert found.returncode != 0
    assert re.search(r"Output .*/printed/.* older modification time .* input .*/meta\.json .*clock skew", found.stdout)
    for path in inputs:
        path.touch()
    copied.run("--", target)
    assert differences(finished, copied) == []


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("data.domains", ["sketch", "fotos"], "error in the config: data.domains: unknown domain 'fotos'"),
        ("train.learning_rate", "1e-3", "error in the config: train.learning_rate must be a number"),
        ("points.0.merge", "tise", "unknown merge method 'tise'. Did you mean 'ties'?"),
    ],
)
def test_a_wrong_config_stops_before_any_job(finished, key, value, sentence):
    found = Workflow(finished.folder, edited(key, value)).run("--dry-run", check=False)
    assert found.returncode != 0
    assert sentence in found.stdout
    assert "Traceback" not in found.stdout


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("train_client/digits-r2-0123456789/printed/seed-0/meta.json", "digits-r2-0123456789/printed is no"),
        ("evaluate/digits-0123456789/sketch/seed-0/shard-0/rows.jsonl", "digits-0123456789 is no id of this config"),
        ("diagnose/digits-0123456789/seed-0/meta.json", "digits-0123456789 is no id of this config"),
    ],
)
def test_an_unknown_id_is_refused_and_not_made_from_other_settings(finished, path, named):
    found = finished.run("--dry-run", "--", f"results/{path}", check=False)
    assert found.returncode != 0
    assert named in found.stdout
