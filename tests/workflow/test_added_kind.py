"""docs/adding-a-kind-of-model.md, word by word, on a finished study: one file, judged alone, shown with its cost."""

import re

import numpy as np
import pytest
import yaml

from sap.io import load_tensors, read_csv, read_jsonl
from tests.workflow.clone import Clone
from tests.workflow.small_study import MINI, ROOT, job_counts

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/adding-a-kind-of-model.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.S))
FUSED = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1])["points"]


@pytest.fixture(scope="module")
def extended(finished, tmp_path_factory):
    """A clone with the page's kind, beside a copy of the finished small study with the page's points."""
    root, study = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("study")
    clone = Clone(root, study, finished, FILES, MINI | {"points": [*MINI["points"], *FUSED]})
    clone.generate()
    return clone


def test_a_kind_is_one_file():
    assert list(FILES) == ["src/sap/serve/fusion.py"]


def test_points_are_served_by_the_new_kind_judged_alone_and_shown_with_their_cost(extended):
    before = {row["key"] for path in extended.study.glob("results/evaluate/**/rows.jsonl") for row in read_jsonl(path)}
    planned = job_counts(extended.snakemake("--dry-run"))
    assert planned == {"evaluate": 2, "headroom_table": 1, "tables": 1, "figures": 1}
    extended.snakemake()
    (path,) = extended.study.glob("results/evaluate/*/sketch/seed-0/shard-0/rows.jsonl")
    rows = read_jsonl(path)
    fused = [row for row in rows if row["kind"] == "fusion"]
    assert len(fused) == 2
    assert all(row["key"] in before for path in [path] for row in rows if row["kind"] != "fusion")
    predictions = load_tensors(path.with_name("predictions.safetensors"), "np")["sketch/test/true_probability"]

    def probability(kind, **settings):
        (row,) = (
            row
            for row in rows
            if (row["kind"], row["domain"]) == (kind, "sketch") and settings.items() <= row["settings"].items()
        )
        return predictions[row["index"]]

    mixed = 0.3 * probability("merge", merge={"method": "mean"}, scale=1.0, criterion="none")
    mixed += 0.7 * probability("zero_shot")
    assert np.allclose(probability("fusion", serve={"weight": 0.3}), mixed, atol=1e-6)
    shown = {row["method"]: row for row in read_csv(extended.study / "results/tables/mini/main.csv")}
    with_zero_shot = shown["fusion (weight 0.3): mean + zero-shot"]
    with_ties = shown["fusion: mean + ties, λ=0.5"]
    assert {row["passes"] for row in (with_zero_shot, with_ties)} == {"2.0"}
    assert 0 < float(with_zero_shot["parameters"]) < float(with_ties["parameters"])
    assert shown["mean"]["passes"] == "1.0"
    assert "More than one update" in (extended.study / "results/tables/mini/main.md").read_text(encoding="utf-8")
