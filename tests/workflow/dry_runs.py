"""Dry runs by the hundred: real ones, each in a process forked from one that has imported Snakemake already."""

import multiprocessing
import os
import re
import sys
import tempfile
from pathlib import Path

import yaml

from tests.workflow.small_study import Workflow, job_counts

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.workflow.preloaded"])


def snakemake(folder: Path, overlay: dict, *arguments: str, library: Path | None = None) -> str:
    """What `snakemake --configfile <overlay> <arguments>` prints in `folder`, which must succeed.

    `library` is another checkout, whose code then counts.
    """
    with tempfile.TemporaryDirectory() as scratch:
        config, printed = Path(scratch, "config.yaml"), Path(scratch, "printed")
        config.write_text(yaml.safe_dump(overlay), encoding="utf-8")
        command = ["--cores", "1", "--configfile", str(config), *arguments]
        command += ["--snakefile", str(library / "Snakefile")] if library else []
        process = _FORKS.Process(target=_call, args=(folder, command, printed, library))
        process.start()
        process.join()
        text = printed.read_text(encoding="utf-8")
    assert process.exitcode == 0, text
    return text


def planned(folder: Path, overlay: dict, *targets: str, library: Path | None = None) -> dict[str, int]:
    """Rules that a dry run (for some targets) would execute, with their job counts."""
    return job_counts(snakemake(folder, overlay, "--dry-run", *targets, library=library))


def pretend_finished(folder: Path, overlay: dict, *targets: str, library: Path | None = None) -> None:
    """Make the study (or some targets) look finished to Snakemake: placeholders for every output, and its records.

    Snakemake looks at names, dates and its records, never into an artifact, so its dry runs cannot tell.
    """
    workflow = Workflow(folder, overlay)
    summary = snakemake(workflow.folder, overlay, "--summary", *targets, library=library)
    for name in re.findall(r"^(results/[^\t]+)\t", summary, re.M):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")
    snakemake(folder, overlay, "--touch", "--forceall", *targets, library=library)


def _call(folder: Path, command: list[str], printed: Path, library: Path | None) -> None:
    handle = os.open(printed, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(folder)
    os.environ["SAP_DEVICE"] = "cpu"
    if library is not None:
        for name in [name for name in sys.modules if name == "sap" or name.startswith("sap.")]:
            del sys.modules[name]
        sys.path.insert(0, str(library / "src"))
    from snakemake.cli import main

    main(command)
