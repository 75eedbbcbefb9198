"""The picture of the rules in the docs is the one that Snakemake draws."""

import re

from tests.workflow.dry_runs import snakemake
from tests.workflow.small_study import EVERYTHING, ROOT, Workflow


def test_the_graph_in_the_docs_is_that_of_the_study_with_every_stage(tmp_path):
    folder = Workflow(tmp_path, EVERYTHING).folder
    drawn = snakemake(folder, EVERYTHING, "--rulegraph", "mermaid-js", "--", "all", "merged")
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    edges = sorted(f"    {names[start]} --> {names[end]}" for start, end in re.findall(r"(id\d+) --> (id\d+)", drawn))
    page = (ROOT / "docs/rule-graph.md").read_text(encoding="utf-8")
    assert "\n".join(["```mermaid", "flowchart LR", *edges, "```"]) in page
