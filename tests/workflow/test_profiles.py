"""What the profiles say fits the rules and one another: Snakemake inherits nothing between them."""

import re

import pytest
import yaml

from tests.workflow.small_study import ROOT

RULES = dict(
    re.findall(
        r"^rule (\w+):\n(.*?)(?=^rule |\Z)",
        "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow" / "rules").glob("*.smk"))),
        flags=re.MULTILINE | re.DOTALL,
    )
)
SUBMITTED = sorted(RULES.keys() - {"headroom_table", "tables", "figures", "complete"})
ONE_MACHINE = {"cores", "resources"}  # SLURM counts these by itself


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text(encoding="utf-8"))


def test_the_rules_are_found():
    assert {"prepare_domain", "train_client", "evaluate", "tables"} <= RULES.keys()


@pytest.mark.parametrize("rule", SUBMITTED)
def test_a_retried_job_gets_more_memory_and_time(rule):
    assert re.search(r"mem_mb=grows\(\d+\)", RULES[rule])
    assert re.search(r"runtime=grows\(\d+\)", RULES[rule])


def test_slurm_gives_a_gpu_to_exactly_the_rules_that_use_one():
    given = {rule for rule, resources in profile("slurm")["set-resources"].items() if resources["gpu"] == 1}
    assert given == {rule for rule, text in RULES.items() if "gpu=GPU" in text}


def test_the_slurm_profile_repeats_what_the_default_one_says():
    default, slurm = profile("default"), profile("slurm")
    assert {key: slurm.get(key) for key in default.keys() - ONE_MACHINE} == {
        key: value for key, value in default.items() if key not in ONE_MACHINE
    }
