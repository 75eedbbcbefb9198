"""The pipeline: its stages in order, and studies planned on them.

A stage is a room in sap.stages; a new one is a line in NAMES. This list is not in the rooms' package, because then
every job's code would depend on it, and one more stage would run everything again.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from sap.plan import study
from sap.plan.stage import Stage

NAMES = (
    "prepare_domain",
    "prepare_backbone",
    "embed_classes",
    "draw_anchors",
    "train_client",
    "score_client",
    "measure",
    "diagnose",
    "headroom",
    "compare_towers",
    "compare_masks",
    "probe",
    "privacy",
    "evaluate",
    "audit",
    "prune",
    "merge",
    "headroom_table",
    "tables",
    "figures",
    "complete",
)


@cache
def stages() -> Mapping[str, Stage]:
    """Every stage by name, in the pipeline's order."""
    return {name: import_module(f"sap.stages.{name}.stage").STAGE for name in NAMES}


def build_study(config: Mapping[str, Any]) -> study.Study:
    """Check a config (as Snakemake reads it) and plan its experiment; raises SapError for what is wrong."""
    return study.build_study(config, stages())
