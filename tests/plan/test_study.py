"""A factor enters an id at the first stage that reads it, and at no earlier one."""

import itertools
from pathlib import Path

import pytest

from sap.pipeline import build_study, stages
from sap.plan.folds import shard_plan
from sap.plan.overlays import read_config
from sap.plan.reporting import report_plan
from sap.plan.schema import schema
from sap.plan.settings import load_settings
from sap.plan.study import Study

ROOT = Path(__file__).parents[2]


def ids(study: Study) -> dict[str, object]:
    """Ids of every stage."""
    return {
        "data": study.id("prepare_domain"),
        "backbone": study.id("prepare_backbone"),
        "classes": study.id("embed_classes"),
        "clients": [client.train_id for client in study.clients],
        "anchors": study.id("draw_anchors", 0),
        "saliency": study.id("score_client", study.diagnosed),
        "measured": [
            study.id("measure", (kind, source)) for kind in ("gram", "fisher") for source in ("client", "anchors")
        ],
        "cohort": study.id("evaluate"),
    }


# Which ids an edit of each key changes; every other id must stay.
MATRIX = {
    "experiment": ("renamed", set()),
    "seeds": ([0, 1, 2, 3], set()),
    "beds": (["another"], set()),
    "evaluate.batch_size": (64, set()),
    "evaluate.cache_activations": (False, set()),
    "evaluate.shards": (4, set()),
    "evaluate.targets": (["photo"], set()),
    "evaluate.references": (["zero_shot"], set()),
    "evaluate.candidates": (["main"], set()),
    "evaluate.precision": ("bfloat16", {"cohort"}),
    "points.1.prune_ratio": (0.7, set()),
    "points.1.criterion": ("magnitude", set()),
    "points.1.anchor_size": (16, set()),
    "points.1.merge": ("ties", set()),
    "points.1.label": ("another name", set()),
    "statistics.images": (128, {"measured"}),
    "anchors.sizes": ([8, 16, 32, 64], {"anchors", "saliency", "measured"}),
    "corruption.fraction": (0.5, set()),
    "partition.alpha": (0.1, set()),
    "train.learning_rate": (0.004, {"clients", "cohort"}),
    "train.lora.rank": (4, {"clients", "cohort"}),
    "train.lora.first_block": (1, {"clients", "cohort"}),
    "backbone.prompts": (["a {}."], {"classes", "clients", "cohort", "measured"}),
    "backbone.scratch.steps": (601, {"backbone", "classes", "clients", "anchors", "saliency", "cohort", "measured"}),
    "data.class_names": ({"zero": "nought"}, {"classes", "clients", "cohort", "measured"}),
    "data.split.val": (0.2, {"data", "clients", "cohort"}),
    "data.digits.per_class": (20, {"data", "clients", "cohort"}),
    "data.digits.anchors": (70, {"anchors", "saliency", "measured"}),
    "data.digits.corpus": (400, {"backbone", "classes", "clients", "anchors", "saliency", "cohort", "measured"}),
    "data.problems.bad_image": ("refuse", set()),  # the embedded set has no files
    "data.exif": ("apply", set()),
}


@pytest.mark.parametrize("key", MATRIX)
def test_an_edit_changes_the_ids_of_its_stage_and_later_ones_only(config, changed, key):
    value, expected = MATRIX[key]
    before, after = ids(build_study(config)), ids(build_study(changed(key, value)))
    assert {stage for stage in before if before[stage] != after[stage]} == expected


def test_swapping_the_values_of_any_two_training_options_changes_the_id(config):
    """Two values of one type in each pair; whether a training could run with them does not matter here."""
    settings = load_settings(config)
    train = settings["train"]
    options = [(train, name) for name in train if name != "lora"] + [(train["lora"], name) for name in train["lora"]]
    values = {bool: (True, False), int: (2, 3), float: (0.25, 0.75), str: ("one", "two"), list: (["one"], ["two"])}
    pairs = [
        (one, other)
        for one, other in itertools.combinations(options, 2)
        if type(one[0][one[1]]) is type(other[0][other[1]]) and one[0][one[1]] is not None
    ]
    assert len(pairs) > 20
    for (section, name), (other_section, other_name) in pairs:
        before = section[name], other_section[other_name]
        found = set()
        for one, two in itertools.permutations(values[type(before[0])]):
            section[name], other_section[other_name] = one, two
            found.add(Study(settings, stages()).clients[0].train_id)
        section[name], other_section[other_name] = before
        assert len(found) == 2, (name, other_name)


def test_key_order_and_number_spelling_do_not_matter(config, changed):
    config["train"] = dict(reversed(config["train"].items()))
    assert ids(build_study(config)) == ids(build_study(changed("train.lora.alpha", 16)))


def test_ids_are_frozen(config):
    """These ids are on users' disks: a change here makes everyone train again, so it must be meant."""
    study = build_study({"points": [{"merge": "mean"}]})
    assert study.points[0].id == "mean-f3aeada5a3"


def test_no_target_in_a_client_path(config):
    study = build_study(config)
    assert len({client.folder(0) for client in study.clients}) == 4
    assert all(study.sources(target) == tuple(c for c in study.clients if c.name != target) for target in study.targets)


def test_with_one_clean_client_per_domain_the_oracle_is_that_client(config, changed):
    study = build_study(config)
    assert study.oracle("photo") == study.clients[1]
    several = build_study(changed("partition.clients_per_domain", 3))
    assert len(several.clients) == 12
    assert several.oracle("photo") not in several.clients
    poisoned = changed("corruption.kind", "derangement")
    poisoned["corruption"]["clients"] = ["photo"]
    poisoned = build_study(poisoned)
    assert poisoned.oracle("photo") == study.clients[1]
    assert poisoned.clients[1] != study.clients[1]
    assert poisoned.clients[0] == study.clients[0]


def test_adding_a_point_moves_no_other_point_to_another_shard(changed):
    config = changed("evaluate.shards", 3)
    before = build_study(config)
    config["points"].append({"merge": {"method": "ties", "density": 0.33}})
    after = build_study(config)
    for shard in range(3):
        old = {point.id for point in before.shard_points("photo", shard)}
        new = {point.id for point in after.shard_points("photo", shard)}
        assert old <= new
    everything = [point.id for shard in range(3) for point in after.shard_points("photo", shard)]
    assert sorted(everything) == sorted(point.id for point in after.fold_points("photo"))


def test_a_label_is_in_the_report_but_in_no_shard(config, changed):
    renamed = changed("points.1.label", "my method")
    assert "my method" in {point.label for point in report_plan(build_study(renamed)).points}
    assert shard_plan(build_study(config), "photo", 0, 0) == shard_plan(build_study(renamed), "photo", 0, 0)


def test_equal_settings_make_one_point_with_all_views():
    study = build_study({"points": [{"merge": "mean"}, {"views": "path", "merge": ["mean", "ties"]}]})
    assert [point.views for point in study.points] == [("main", "path"), ("path",)]


def test_settings_that_a_criterion_does_not_read_are_not_in_its_id():
    blocks = [{"views": "sweep", "criterion": "random", "anchor_size": size, "merge": "mean"} for size in (8, 17)]
    assert len(build_study({"points": blocks, "anchors": {"sizes": [8, 16]}}).points) == 1


def test_the_default_plan_is_not_larger_than_its_laptop_budget(default):
    study = build_study(default)
    assert len(study.trainees) * len(study.seeds) == 24
    assert len(study.points) < 140
    assert study.measured == ()
    assert len(report_plan(study).jobs["audit"]) == 4


def test_the_merge_comparison_holds_every_method_that_three_clients_allow_and_trains_nobody(default):
    """SLERP takes exactly two clients, Bulyan seven; every other registered method has its row."""
    plain = build_study(default)
    overlays = [ROOT / "experiments/merges.yaml", ROOT / "experiments/rivals.yaml"]
    study = build_study(read_config(overlays, ROOT / "config.yaml"))
    assert study.trainees == plain.trainees
    assert {point.id for point in plain.points} < {point.id for point in study.points}
    merges = (point.settings.get("merge") for point in study.points if "main" in point.views)
    shown = {merge["method"] for merge in merges if merge}
    assert set(schema()["$defs"]["merge"]) - shown == {"slerp", "nuslerp", "bulyan"}


def test_a_point_reads_what_its_criterion_and_its_merge_method_need(config):
    config["points"] = [
        {"merge": ["mean", "regmean"], "statistics": ["client", "anchors"]},
        {"merge": "fltrust", "anchor_size": 16},
        {"criterion": "wanda", "prune_ratio": 0.5, "merge": "fisher"},
    ]
    study = build_study(config)
    mean, regmean, on_anchors, fltrust, wanda, _control = study.points
    assert "statistics" not in mean.settings  # it is one point, whatever the block sweeps
    assert regmean.measured == [("gram", "client")]
    assert on_anchors.measured == [("gram", "anchors")]
    assert regmean.id != on_anchors.id
    assert fltrust.settings["anchor_size"] == 16
    assert fltrust.gradients[0] == ("cosine", "absolute_of_mean", 0, "captions")
    assert wanda.measured == [("fisher", "client"), ("gram", "client")]
    plan = shard_plan(study, study.targets[0], 0, 0)
    assert set(plan.statistics) == {study.id("measure", kind) for kind in study.measured}
    assert plan.anchors == {study.id("score_client", fltrust.gradients[0]): study.folder("draw_anchors", 0)}
    inputs = plan.inputs()
    assert all(f"{folder}/meta.json" in inputs for each in plan.statistics.values() for folder in each.values())
    needs = {point.id: point.needs for point in report_plan(study).points}
    assert needs[wanda.id] == ("fisher", "gram")


def test_defaults_of_later_options_leave_a_points_id_alone(config):
    config["points"] = [{"views": "sweep", "merge": "mean", "criterion": "magnitude"}]
    (before,) = build_study(config).points
    config["points"][0] |= {"unit": "entry", "count": "floor", "prune_top": 0.0, "rank": None}
    (after,) = build_study(config).points
    assert before.id == after.id
    config["points"][0] |= {"rank": 4}
    (truncated,) = build_study(config).points
    assert truncated.id != before.id
    assert truncated.label.endswith("rank 4")
