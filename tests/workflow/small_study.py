"""The real workflow on small studies: digits, three domains, one seed, a backbone of thirty steps."""

import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import yaml

ROOT = Path(__file__).parents[2]

MINI = yaml.safe_load((ROOT / ".test/config.yaml").read_text(encoding="utf-8"))

PROBED = {"stages": ["probe", "privacy"], "judged_on": []}
ATTACKED = {"views": ["attack"], "attackers": "printed", "anchor_size": 8, "merge": "mean"}
EVERYTHING = MINI | {  # every stage has jobs: the claims are tested, too
    "experiment": "everything",
    "evidence": {"headroom": True, "towers": True, "masks": True},
    "points": [
        *MINI["points"],
        PROBED | {"merge": "mean"},
        PROBED | {"criterion": "taylor_absolute", "prune_ratio": 0.7, "anchor_size": 8},
        {"views": ["draws"], "criterion": "taylor_absolute", "anchor_size": 8, "anchor_draw": 1},
        {"views": "selection", "judged_on": "selection", "scale": [0.75, 1.5]},
        ATTACKED | {"judged_on": "everyone", "attack": ["none", "derangement", "sign_flip", "backdoor"]},
        ATTACKED | {"attack": ["none", "derangement", "sign_flip"], "criterion": "taylor_absolute"},
        ATTACKED | {"attack": "derangement", "attacker_weight": [0.25, 0.5], "merge": "weighted_mean"},
    ],
}


class Workflow:
    """A working folder with links to the repository's workflow and a config of its own."""

    def __init__(self, folder: Path, overlay: dict) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("Snakefile", "config.yaml", "workflow", "profiles"):
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)
        self.configure(overlay)

    def configure(self, overlay: dict) -> None:
        """From now on run this config."""
        self.overlay = copy.deepcopy(overlay)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        """Call snakemake as a user would; both streams come back as one text in .stdout."""
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            with self.started(output, *arguments) as run:
                status = run.wait()
            output.seek(0)
            found = subprocess.CompletedProcess(run.args, status, output.read())
        assert not check or found.returncode == 0, found.stdout
        return found

    @contextmanager
    def started(self, output: IO[str], *arguments: str) -> Iterator[subprocess.Popen]:
        """The same in the background, as a process of a session of its own; both streams go to `output`."""
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".yaml") as overlay:
            yaml.safe_dump(self.overlay, overlay)
            overlay.flush()
            yield subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", overlay.name, *arguments],
                cwd=self.folder,
                env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SAP_DEVICE": "cpu"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def planned(self, overlay: dict) -> dict[str, int]:
        """Rules that a dry run with another config would execute, with their job counts."""
        return job_counts(Workflow(self.folder, overlay).run("--dry-run").stdout)

    def glob(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern))


def job_counts(text: str) -> dict[str, int]:
    """The table of jobs that snakemake prints: {rule: count}, without the total and the rules that make nothing."""
    if "Job stats:" not in text:
        assert "Nothing to be done" in text, text
        return {}
    table = text.split("Job stats:")[1].split("\ntotal")[0].splitlines()[3:]
    counts = {rule: int(count) for rule, count in (line.split() for line in table)}
    return {rule: count for rule, count in counts.items() if rule not in ("all", "complete")}


def edited(key: str, value: object, study: dict = MINI) -> dict:
    """The small study, or another one, with one dotted key set."""
    overlay = copy.deepcopy(study)
    section = overlay
    *path, last = key.split(".")
    for name in path:
        section = section[int(name)] if isinstance(section, list) else section.setdefault(name, {})
    section[int(last) if isinstance(section, list) else last] = value
    return overlay
