"""Every benchmark runs to its end at its smallest size. What it measures there means nothing; that it prints does."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.evaluation import vit_plan
from sap.io import write_json
from sap.plans import PointPlan, as_json

ROOT = Path(__file__).parents[2]
SMALL = "ViT-S-32-alt"  # the smallest of open_clip's transformers
PEER = {"call": "peft cat", "blocks": 1, "of": 1, "clients": 2, "repeats": 1, "budget": 0, "threads": 1}
RUNS = {  # benchmark: (arguments, words of its table)
    "dag": ("--sizes 10 --repeat 1", ["dry run, plans written", "plan of the report"]),
    "evaluation": (
        f"vit --model {SMALL} --images 8 --clients 2 --points 2 --processes 1 --threads 1 --precision bfloat16",
        ["sweep of 2 points", "one process per point"],
    ),
    "intervals": ("--trials 4 --resamples 10", ["| binary, strong seeds | 3 | 10 |", "| within | 0.2 | 2000 |"]),
    "merging": ("--blocks 1 --only sum", ["| sum ", "floor: 4 deltas read"]),
    "peers": ([json.dumps(PEER)], ["seconds", "sample"]),
    "startup": ("--repeats 1 --only tables", ["| tables "]),
    "training": (
        f"--model {SMALL} --images 8 --epochs 1 --batch-size 4 --threads 1 --workers 1 --runs 2",
        ["| ours, float32, cpu, seed 0", "| plain, float32, cpu, seed 0"],
    ),
}


def run(benchmark: str, *arguments: str) -> str:
    command = [sys.executable, f"benchmarks/{benchmark}.py", *arguments]
    found = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_every_benchmark_has_its_smallest_run():
    assert set(RUNS) == {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


@pytest.mark.parametrize("benchmark", RUNS)
def test_a_benchmark_runs_to_its_end(benchmark):
    arguments, words = RUNS[benchmark]
    printed = run(benchmark, *(arguments.split() if isinstance(arguments, str) else arguments))
    assert not [word for word in words if word not in printed], printed
    assert "failed" not in printed, printed


def test_the_sweep_of_a_finished_study_is_timed_by_the_plans_that_the_study_left(tmp_path):
    small = Namespace(model=SMALL, precision="float32", images=8, clients=2)
    plan, saliency, anchor_size = vit_plan(tmp_path, small)
    point = PointPlan(id="small", settings={"saliency": saliency, "anchor_size": anchor_size})
    write_json(tmp_path / "results/plans/evaluate-small.json", as_json(replace(plan, points=(point,))))
    printed = run(
        "evaluation", "digits", "--study", str(tmp_path), "--points", "2", "3", "--processes", "1", "--threads", "1"
    )
    assert "sweep of 3 points" in printed
