"""What the plan of a sweep costs before its first job: dry runs of the default study with 10 and with 10,000 points.

    python benchmarks/dag.py

Each number is the median of `--repeat` runs; the two sizes take turns. A dry run writes the plans of the jobs that it
lists (results/plans/), so the first one after an edit is timed with none of them there. "Nothing to do" is a dry run
over a study whose every output exists and is recorded by `snakemake --touch`; the outputs are placeholders, because
Snakemake looks at dates and records, never into a row. The lines below it are the plan's own work, in one process.
"""

import argparse
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from tabulate import tabulate

ROOT = Path(__file__).parents[1]
TENTHS = [round(0.1 * i, 1) for i in range(1, 11)]
SWEEPS = {
    10: {"criterion": "taylor_absolute", "prune_ratio": 0.5, "scale": TENTHS, "merge": "mean"},
    10_000: {
        "criterion": ["taylor_absolute", "taylor_signed", "magnitude", "random"],
        "prune_ratio": [round(i / 26, 4) for i in range(1, 26)],
        "scale": TENTHS,
        "merge": ["mean", "ties", "sum", "median", "dare", "dare_ties", "breadcrumbs", "knots", "iso_c", "tsv_m"],
    },
}


def study_folder(points: int, root: Path) -> Path:
    """A working folder with links to the workflow, and the sweep's config in sweep.yaml."""
    folder = root / str(points)
    folder.mkdir()
    for name in ("Snakefile", "config.yaml", "workflow", "profiles"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "sweep.yaml").write_text(
        yaml.safe_dump({"points": [{"views": ["sweep"], **SWEEPS[points]}]}), encoding="utf-8"
    )
    return folder


def snakemake(folder: Path, *arguments: str) -> tuple[float, str]:
    """(seconds, what it printed) of one call on the sweep."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "sweep.yaml", *arguments]
    found = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return time.perf_counter() - start, found.stdout


def pretend_finished(folder: Path) -> None:
    """Placeholders for every output, recorded as this config's and this code's."""
    _, summary = snakemake(folder, "--summary")
    for name in re.findall(r"^((?:results|logs)/[^\t]+)\t", summary, re.M):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")
    snakemake(folder, "--touch", "--forceall", "--quiet", "all")


def parts(folder: Path) -> dict[str, float]:
    """Seconds of each part of the plan's own work, as the Snakefile does it, in a fresh process."""
    os.chdir(folder)
    seconds: dict[str, float] = {}

    def timed(name, work):
        start = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - start
        return result

    timed("import snakemake", lambda: __import__("snakemake.cli"))
    timed("import sap.plan", lambda: __import__("sap.plan.manifest"))
    from sap.pipeline import build_study
    from sap.plan import fingerprint, folds, manifest, reporting, settings

    config = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8")) | yaml.safe_load(
        Path("sweep.yaml").read_text(encoding="utf-8")
    )
    timed("check the config", lambda: settings.load_settings(config))
    planned = timed("make points and ids", lambda: build_study(config))
    scripts = sorted(ROOT.glob("workflow/scripts/*.py"))
    timed("fingerprints of the stages' code", lambda: [fingerprint.fingerprint(script) for script in scripts])
    timed("fingerprints of the points' code", lambda: manifest.store_codes(planned))
    timed("results/index.csv", lambda: manifest.update_index(planned))
    timed("plan of the report", lambda: manifest.store_plan(reporting.report_plan(planned), "report"))
    shards = range(planned.settings["evaluate"]["shards"])
    timed(
        "plans of the shards",
        lambda: [
            manifest.store_plan(folds.shard_plan(planned, target, seed, shard), "evaluate")
            for target in planned.targets
            for seed in planned.seeds
            for shard in shards
        ],
    )
    return seconds


def measured(folder: Path) -> dict[str, float]:
    """One round of every line of the table, in seconds (MB for the plans)."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    found = {"dry run, plans written": snakemake(folder, "--dry-run", "--quiet", "all")[0]}
    found["plans, MB"] = sum(path.stat().st_size for path in folder.glob("results/plans/*")) / 1e6
    found["dry run, plans there"] = snakemake(folder, "--dry-run", "--quiet", "all")[0]
    pretend_finished(folder)
    seconds, listed = snakemake(folder, "--dry-run")
    assert "Nothing to be done" in listed, listed
    found["nothing to do"] = seconds
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return found | {f"- {name}": value for name, value in pool.apply(parts, (folder,)).items()}


def main(repeat: int, sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as root:
        folders = {points: study_folder(points, Path(root)) for points in sizes}
        rounds = [{points: measured(folder) for points, folder in folders.items()} for _ in range(repeat)]
    rows = []
    for name in rounds[0][sizes[0]]:
        medians = [statistics.median(found[points][name] for found in rounds) for points in sizes]
        rows.append([name, *medians, medians[-1] / medians[0]])
    print(tabulate(rows, headers=["seconds", *(f"{size:,} points" for size in sizes), "ratio"], floatfmt=".2f"))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="rounds, of which the median is shown")
    parser.add_argument("--sizes", type=int, nargs="+", choices=SWEEPS, default=list(SWEEPS), help="points of a sweep")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_args()
    main(given.repeat, given.sizes)
