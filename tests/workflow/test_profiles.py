"""What the profiles say fits the rules and one another: Snakemake inherits nothing between them."""

import re

import pytest
import yaml

from sap.pipeline import stages
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
def test_a_job_is_given_what_its_stage_declares_and_more_when_it_is_retried(rule):
    assert f'**needed("{rule}")' in RULES[rule]


def test_slurm_gives_a_gpu_to_exactly_the_rules_that_use_one():
    given = {rule for rule, resources in profile("slurm")["set-resources"].items() if resources["gpu"] == 1}
    assert given == {name for name, stage in stages().items() if stage.gpu}


def test_the_slurm_profile_repeats_what_the_default_one_says():
    default, slurm = profile("default"), profile("slurm")
    assert {key: slurm.get(key) for key in default.keys() - ONE_MACHINE} == {
        key: value for key, value in default.items() if key not in ONE_MACHINE
    }
