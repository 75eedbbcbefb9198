"""A truncated or bit-flipped file of any artifact is never used: its readers heal it, or stop with one clear sentence.

The scripts run with the commands that Snakemake prints, in this process: their imports would take most of the time.
"""

import re
import runpy
import shlex
import shutil
import signal
from pathlib import Path

import pytest
import torch

from sap.io import read_jsonl
from sap.pipeline import stages
from tests.workflow.compare import content

pytestmark = pytest.mark.slow

JOBS = {  # outputs below results/
    "anchors": "draw_anchors/*",
    "texts": "embed_classes/*",
    "train": "train_client/*/sketch/seed-0",
    "score": "score_client/*/*/printed/seed-0",
    "measure": "measure/*/*/printed/seed-0",
    "diagnose": "diagnose/*/seed-0",
    "evaluate": "evaluate/*/sketch/seed-0/shard-0",
    "audit": "audit/*/sketch/seed-0",
    "tables": "tables/*",
    "figures": "figures/*",
}
READERS = {  # file of an artifact -> jobs that read it
    "prepare_backbone/*/open_clip_model.safetensors": "texts train score measure evaluate",
    "prepare_backbone/*/open_clip_config.json": "anchors texts train",
    "prepare_backbone/*/meta.json": "texts evaluate",
    "embed_classes/*/text_features.safetensors": "train measure evaluate",
    "embed_classes/*/meta.json": "train evaluate",
    "prepare_domain/*/sketch/images.npy": "train evaluate",
    "prepare_domain/*/sketch/index.csv": "train evaluate",
    "prepare_domain/*/sketch/examples.safetensors": "figures",
    "prepare_domain/*/sketch/meta.json": "train evaluate",
    "draw_anchors/*/anchors.safetensors": "score evaluate",
    "draw_anchors/*/anchors.csv": "tables",
    "draw_anchors/*/meta.json": "score tables",
    "train_client/*/printed/seed-0/upload/adapter_model.safetensors": "score measure diagnose evaluate audit",
    "train_client/*/printed/seed-0/upload/adapter_config.json": "score evaluate",
    "train_client/*/printed/seed-0/upload/meta.json": "evaluate audit",
    "train_client/*/printed/seed-0/meta.json": "tables",
    "score_client/*/*/printed/seed-0/gradients.safetensors": "diagnose evaluate audit",
    "score_client/*/*/printed/seed-0/meta.json": "evaluate tables",
    "measure/*/*/printed/seed-0/upload/statistics.safetensors": "evaluate",
    "measure/*/*/printed/seed-0/upload/meta.json": "evaluate",
    "measure/*/*/printed/seed-0/meta.json": "tables",
    "diagnose/*/seed-0/agreement.csv": "figures",
    "diagnose/*/seed-0/saliency.csv": "figures",
    "diagnose/*/seed-0/meta.json": "tables",
    "evaluate/*/sketch/seed-0/*/rows.jsonl": "evaluate tables",
    "evaluate/*/sketch/seed-0/*/predictions.safetensors": "evaluate",
    "audit/*/sketch/seed-0/audit.jsonl": "audit tables",
    "plans/evaluate-*.json": "evaluate",
    "plans/audit-*.json": "audit",
    "plans/report-*.json": "tables",
}

UNREAD = {"train.jsonl", "pretrain.jsonl", "skipped.csv"}  # for people: nobody computes with these
EMPTY = {"failed.jsonl"}  # nothing failed here; tests/report/test_failures.py damages some


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit of every kilobyte, and at least one."""
    whole = bytearray(path.read_bytes())
    for position in range(len(whole) // 2 % 1024, len(whole), 1024):
        whole[position] ^= 4
    path.write_bytes(whole)


@pytest.fixture(scope="module")
def commands(finished) -> dict[str, list[str]]:
    """Output folder -> the command of its job, as Snakemake prints it."""
    printed = finished.run("--dry-run", "--forceall", "--printshellcmds").stdout
    found = {}
    for line in re.findall(r"python (workflow/scripts/.*)", printed):
        command = shlex.split(re.split(r" (?:&>|2>&1) ", line)[0])
        found[command[command.index("--out") + 1]] = command
    assert len(found) > 20
    return found


@pytest.fixture
def job(copied, commands, monkeypatch):
    """Runs the job of an output folder again, as Snakemake does after its outputs were deleted; returns its error."""
    monkeypatch.chdir(copied.folder)
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    before, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()

    def run(folder: str) -> str:
        script, *arguments = commands[folder]
        monkeypatch.setattr("sys.argv", [script, *arguments])
        torch.set_num_threads(1)
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            return str(end)
        return ""

    yield run
    signal.signal(signal.SIGTERM, before)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize(("file", "reader"), [(file, reader) for file in READERS for reader in READERS[file].split()])
def test_a_damaged_file_is_healed_or_refused_by_every_reader(finished, copied, job, file, reader, damage):
    damaged = copied.glob(f"results/{file}")
    (folder,) = (str(path.relative_to(copied.folder)) for path in copied.glob(f"results/{JOBS[reader]}"))
    for path in damaged:
        damage(path)
        assert path.read_bytes() != (finished.folder / path.relative_to(copied.folder)).read_bytes()
    if Path(folder) not in {path.parent.relative_to(copied.folder) for path in damaged}:
        shutil.rmtree(copied.folder / folder)
        (copied.folder / folder).mkdir()
    error = job(folder)
    names = {str(path.relative_to(copied.folder / "results")) for path in damaged}
    expected = content(finished)
    wrong = {name for name, found in content(copied).items() if found != expected.get(name)}
    wrong = {name for name in wrong if ".progress/" not in name}  # good rows of a shard whose other points failed
    failed = (
        read_jsonl(copied.folder / folder / "failed.jsonl") if reader in ("evaluate", "audit") and not error else []
    )
    if failed:  # the rows that read the file, with its sentence; all others are there as they were
        assert_others_are_there(finished.folder / folder, copied.folder / folder, failed)
        wrong = {name for name in wrong if not f"results/{name}".startswith(f"{folder}/")}
        error = failed[0]["error"]
    if error:
        assert any(path.name in error for path in damaged), error
        assert re.search(r"run the same snakemake command again|Run snakemake --forcerun", error, re.IGNORECASE), error
    healed = not error and names == {name for name in names if name.startswith(folder.removeprefix("results/"))}
    assert wrong <= (set() if healed else names)


def assert_others_are_there(whole: Path, found: Path, failed: list[dict]) -> None:
    """Every row of a job's folder but the failed ones, with the predictions or numbers that it had."""
    gone = {(row["point"], row.get("domain")) for row in failed}
    for name in ("rows.jsonl", "audit.jsonl"):
        if (whole / name).exists():
            expected, there = (
                {
                    (row["point"], row.get("domain"), row.get("layer")): row.get("predictions") or row["coefficients"]
                    for row in read_jsonl(folder / name)
                }
                for folder in (whole, found)
            )
            assert there == {key: value for key, value in expected.items() if key[:2] not in gone}


def test_every_kind_of_file_that_a_study_leaves_is_covered(finished):
    folders = set(stages()) - {"headroom_table", "tables", "figures", "complete"}
    kinds = {(path.split("/")[0], Path(path).name) for path in content(finished) if path.split("/")[0] in folders}
    tested = {(file.split("/")[0], Path(file).name) for file in READERS}
    assert {kind for kind in kinds - tested if kind[1] not in UNREAD | EMPTY} == set()
