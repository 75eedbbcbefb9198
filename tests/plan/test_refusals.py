"""Rows that no fold can merge: those of the shipped config are left out and named, those of the user are refused."""

import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from sap import validity
from sap.errors import SapError
from sap.merge._api import METHODS, merge_method
from sap.pipeline import build_study
from sap.plan.notes import notes
from sap.plan.overlays import read_config
from sap.plan.reporting import report_plan
from sap.plan.schema import schema

ROOT = Path(__file__).parents[2]
THREE = ["handwritten", "sketch", "printed"]
KRUM = "needs n >= 2f+3 clients: n = 2, f = 0 needs 3."


def with_domains(config: dict, domains: list[str], *points: dict) -> dict:
    named = {"points": [*config["points"], *points]} if points else {}
    return config | {"data": config["data"] | {"domains": domains}} | named


@pytest.mark.parametrize(
    ("domains", "missing"),
    [
        (THREE, ["krum", "multi_krum"]),
        (THREE[:2], ["consensus", "krum", "multi_krum"]),
        ([*THREE, "photo"], []),
    ],
)
def test_default_rows_that_a_study_cannot_have_are_left_out_and_named(default, domains, missing):
    study = build_study(with_domains(default, domains))
    assert [point.label for point, _ in study.left_out] == missing
    methods = {point.settings["merge"]["method"] for point in study.points}
    assert not methods & set(missing)
    assert {"mean", "median", "trimmed_mean", "mda", "dnc"} <= methods
    said = [line for line in notes(study) if "left out" in line]
    assert [line.split(",")[0] for line in said] == missing
    assert [row.label for row in report_plan(study).left_out] == missing
    assert sum(KRUM in line for line in said) == (2 if len(domains) == 3 else 0)


def test_every_row_that_is_kept_is_valid_in_every_fold(default):
    """By the methods' own check, which the jobs ask."""
    for domains in (THREE, THREE[:2]):
        for point in build_study(with_domains(default, domains)).points:
            options = dict(point.settings["merge"])
            method = METHODS[options.pop("method")]
            method.check_clients(len(domains) - 1, method.options(**options))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"merge": {"method": "krum", "f": 0}}, KRUM),
        ({"merge": ["mean", "slerp", "bulyan"]}, "(bulyan): needs n >= 4f+3 clients: n = 2, f = 1 needs 7."),
        ({"merge": {"method": "survivors_mean", "min_votes": 3}}, "min_votes is 3, but there are 2 clients."),
        ({"merge": {"method": "della", "density": 0.9, "epsilon": 0.2}}, "density ± epsilon must lie between 0 and 1"),
        ({"merge": {"method": "monna", "pivot": "sketch"}}, "merge.pivot: unknown client 'sketch'."),
        ({"merge": "slerp", "judged_on": "everyone"}, "(Where every domain has a client, 3 merge.)"),
        ({"merge": "slerp", "stages": "probe", "judged_on": []}, "(Where every domain has a client, 3 merge.)"),
        (
            {"views": "attack", "attack": "sign_flip", "attackers": "handwritten+sketch"},
            "all 2 clients attack, and sign_flip needs an honest one.",
        ),
        (
            {
                "views": "attack",
                "attack": "derangement",
                "attackers": "handwritten+sketch",
                "attacker_weight": 0.5,
                "merge": "weighted_mean",
            },
            "attacker_weight needs a client that does not attack.",
        ),
        (
            {"views": "attack", "attack": {"kind": "mimic", "client": "sketch"}, "attackers": "sketch"},
            "attack.client: unknown honest client 'sketch'.",
        ),
    ],
)
def test_a_row_that_the_user_named_is_refused_before_anything_runs(config, row, sentence):
    number = len(config["points"])
    with pytest.raises(SapError, match=re.escape(f"points[{number}] ") + ".*" + re.escape(sentence)):
        build_study(with_domains(config, THREE, row))


def test_a_row_that_stands_in_both_counts_as_named(default):
    groups = {"mine": [{"merge": "krum"}], **default["points"]}
    with pytest.raises(SapError, match=re.escape("points.mine[0] (krum): " + KRUM)):
        build_study(with_domains(default, THREE) | {"points": groups})


def test_backdoors_of_two_sizes_are_refused_before_any_plan_is_made(config):
    attack = [{"kind": "backdoor", "patch_size": size} for size in (0.2, 0.4)]
    with pytest.raises(SapError, match=re.escape("must share a patch_size, got [0.2, 0.4]")):
        build_study(config | {"points": [{"views": "attack", "attack": attack, "merge": "mean"}]})


def test_the_plan_asks_the_rule_that_the_job_asks():
    rules = {name: entry["check"] for name, entry in schema()["$defs"]["merge"].items()}
    assert {name for name, rule in rules.items() if rule} == {name for name, entry in METHODS.items() if entry.check}
    for name, rule in rules.items():
        options = METHODS[name].options()
        for n in range(1, 9):
            asked = rule and getattr(validity, rule)(n, SimpleNamespace(**vars(options)))
            assert asked == (METHODS[name].check and METHODS[name].check(n, options))


def test_a_rule_that_the_plan_cannot_ask_is_no_check():
    with pytest.raises(TypeError, match=re.escape("its check must be a function of sap.validity")):
        merge_method("own_rule", paper="none", family="average", check=lambda n, options: None)


def test_the_docs_own_data_page_works_with_three_domains(tmp_path):
    """As it stands there, with folders that exist: all default rows but two, and those are named."""
    page = (ROOT / "docs/your-own-data.md").read_text(encoding="utf-8")
    text = re.search("```yaml\n(# experiments/mine.yaml\n.*?)```", page, re.DOTALL)[1]
    for domain, name, number in itertools.product(("photo", "sketch", "paint"), ("dog", "cat"), range(40)):
        folder = tmp_path / "data" / domain / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03d}.jpg").touch()
    (tmp_path / "anchors").mkdir()
    captions = "".join(f"{number}.jpg,a photo of thing {number}\n" for number in range(32))
    (tmp_path / "anchors" / "captions.csv").write_text("file,caption\n" + captions, encoding="utf-8")
    for old, new in (("/path/to/my_data", tmp_path / "data"), ("/path/to/anchors", tmp_path / "anchors")):
        assert old in text
        text = text.replace(old, str(new))
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    study = build_study(read_config([tmp_path / "mine.yaml"], ROOT / "config.yaml"))
    assert study.domains == ["paint", "photo", "sketch"]
    assert [point.label for point, _ in study.left_out] == ["krum", "multi_krum"]
    assert len(study.in_view("main")) > 60
