"""Points under attack: who attacks where, who must train wrongly for it, and what stays as it was."""

import pytest

from sap.errors import SapError
from sap.pipeline import build_study
from sap.plan.folds import rows_owed, shard_plan
from sap.plan.reporting import report_plan
from sap.plan.trainees import NOBODY

DERANGEMENT = {"views": "attack", "attack": ["none", "derangement"], "merge": "mean"}


def study_of(config, *blocks, **sections):
    return build_study({**config, **sections, "points": list(blocks)})


def test_each_client_attacks_in_turn_and_only_where_it_merges(config):
    study = study_of(config, DERANGEMENT)
    assert {point.attackers for point in study.points} == {(), *((name,) for name in study.domains)}
    for target in study.targets:
        judged = study.fold_points(target)
        assert {point.attackers for point in judged if point.attackers} == {
            (name,) for name in study.domains if name != target
        }


def test_attackers_train_wrongly_at_the_seeds_of_their_points_and_nobody_else_does(config):
    few = {**DERANGEMENT, "attack": "uniform", "attackers": study_of(config, DERANGEMENT).domains[0], "seeds": [1]}
    study = study_of(config, DERANGEMENT, few, seeds=[0, 1])
    clean = study_of(config, {"merge": "mean"}, seeds=[0, 1])
    assert set(clean.trainees) <= set(study.trainees)
    wrong = [trainee for trainee in study.trainees if trainee not in clean.trainees]
    assert len(wrong) == len(study.domains) + 1
    assert sorted(len(study.seeds_of(trainee)) for trainee in wrong) == [1] + [2] * len(study.domains)
    settings = [trainee.identity.fields["corruption"] for trainee in wrong]
    assert {entry["kind"] for entry in settings} == {"derangement", "uniform"}


def test_attacks_on_updates_train_nobody(config):
    study = study_of(config, {"views": "attack", "attack": "sign_flip", "merge": ["mean", "median"]})
    assert study.trainees == study_of(config, {"merge": "mean"}).trainees


def test_a_plan_names_the_poisoned_uploads_of_its_fold_and_waits_for_them(config):
    study = study_of(config, DERANGEMENT)
    target = study.targets[0]
    plan = shard_plan(study, target, study.seeds[0], 0)
    assert set(plan.poisoned) == set(plan.clients)
    for name, attacks in plan.poisoned.items():
        (folder,) = attacks.values()
        assert folder != plan.clients[name]
        assert f"/{name}/" in folder


def test_without_attacks_a_plan_is_what_it_was(config):
    plan = shard_plan(study_of(config, {"merge": "mean"}), "photo", 0, 0)
    assert (plan.poisoned, plan.public, plan.patch_size) == ({}, None, 0)


def test_the_fold_of_nobody_has_every_client_and_each_attacker_alone(config):
    study = study_of(config, {**DERANGEMENT, "judged_on": "everyone"})
    assert study.folds == [*study.targets, NOBODY]
    assert [client.name for client in study.sources(NOBODY)] == study.domains
    alone = [p for p in study.fold_points(NOBODY) if p.settings["kind"] == "client" and p.attackers]
    assert [p.settings["client"] for p in alone] == study.domains
    owed = rows_owed(study, NOBODY, study.seeds[0], 0)
    assert all(owed[point.id] == len(study.domains) for point in alone)


def test_a_backdoor_is_judged_with_its_patch_and_so_is_the_clean_merge(config):
    study = study_of(config, {**DERANGEMENT, "attack": ["none", "backdoor", "derangement"]})
    plan = shard_plan(study, study.targets[0], 0, 0)
    owed = rows_owed(study, study.targets[0], 0, 0)
    kinds = {p.id: p.settings.get("attack", {"kind": "none"})["kind"] for p in plan.points}
    merges = {p.id for p in plan.points if p.settings["kind"] == "merge"}
    assert {kinds[name]: owed[name] for name in merges} == {"none": 2, "backdoor": 2, "derangement": 1}
    assert plan.patch_size == 0.2


def test_candidates_are_judged_on_the_sources_validation_images_too(config):
    study = study_of(config, {"views": "selection", "judged_on": "selection", "merge": "mean", "scale": [0.5, 1.0]})
    owed = rows_owed(study, study.targets[0], 0, 0)
    # The target, and each of the others by the merge of all clients and by that of all others'.
    assert [owed[point.id] for point in study.points] == [1 + 2 * (len(study.domains) - 1)] * 2


def test_a_rule_that_needs_every_client_is_no_candidate_of_leaving_one_out(config):
    """Krum takes three clients at least."""
    config["evaluate"]["candidates"] = ["main"]
    study = study_of(config, {"merge": ["mean", "krum"]})
    plan = shard_plan(study, study.targets[0], 0, 0)
    judged = {p.settings["merge"]["method"]: p.judged_on for p in plan.points if p.settings["kind"] == "merge"}
    assert judged == {"mean": ("selection", "held_out"), "krum": ("selection",)}


def test_every_pruned_row_of_the_main_table_has_its_shrinkage_control(config):
    study = study_of(config, {"criterion": ["taylor_absolute", "magnitude"], "merge": ["mean", "ties"]})
    pruned = [point for point in study.points if "main" in point.views]
    controls = [point.settings for point in study.points if point.views == ("control",)]
    assert [point.settings | {"control": "shrunk"} for point in pruned] == controls


def test_seeds_of_equal_points_add_up_and_all_seeds_win(config):
    blocks = [{"merge": "mean", "seeds": [0]}, {"merge": "mean", "seeds": [2]}]
    (point,) = study_of(config, *blocks, seeds=[0, 1, 2]).points
    assert point.seeds == {0, 2}
    (point,) = study_of(config, *blocks, {"merge": "mean"}, seeds=[0, 1, 2]).points
    assert point.seeds is None


def test_what_a_point_is_judged_on_is_what_its_block_says(config):
    blocks = [{"scale": scale, "judged_on": words} for scale, words in ((1.0, "target"), (2.0, "clients"), (3.0, []))]
    blocks[2]["stages"] = "probe"
    study = study_of(config, *blocks, {"scale": 1.0, "views": "path", "judged_on": "everyone"})
    owed = rows_owed(study, study.targets[0], 0, 0)
    assert [point.judged_on for point in study.points] == [("target", "everyone"), ("target", "clients"), ()]
    assert [point.views for point in study.points] == [("main", "path"), ("main",), ()]
    assert [owed.get(point.id) for point in study.points] == [1, len(study.domains), None]
    assert [point.id for point in study.points if point in study.fold_points(NOBODY)] == [study.points[0].id]


def test_points_of_probe_and_privacy_alone_are_not_judged(config):
    study = study_of(config, {"merge": "mean"}, {"stages": ["probe", "privacy"], "judged_on": [], "merge": "ties"})
    assert [point.judged for point in study.points] == [True, False]
    assert "ties" not in {p.settings.get("merge", {}).get("method") for p in study.fold_points(study.targets[0])}
    plan = study.stages["probe"].plan(study, seed=0)
    assert [point.settings["kind"] for point in plan.points] == ["zero_shot", "merge"]
    assert list(plan.clients) == study.domains


def test_headroom_needs_both_ceilings_whatever_the_references_say(config):
    study = study_of(config, {"merge": "mean"}, evaluate={"references": ["zero_shot"]})
    plan = study.stages["headroom"].plan(study, domain=study.targets[0], seed=0)
    folders = {trainee.folder(0) for trainee in study.trainees}
    assert {plan.pooled, plan.oracle} <= folders


def test_the_report_knows_attacks_by_name_and_defences_by_their_clean_label(config):
    attack = ["none", {"kind": "derangement", "fraction": 0.5}]
    study = study_of(config, {**DERANGEMENT, "label": "plain", "attack": attack})
    points = [point for point in report_plan(study).points if point.label == "plain"]
    assert {point.attack for point in points} == {"", "derangement 50 %"}


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"attack": "derangment"}, r"points\[0\].attack: unknown attack 'derangment'. Did you mean 'derangement'"),
        ({"attack": {"kind": "derangement", "fraction": 2}}, r"points\[0\].attack \(derangement\).fraction"),
        ({"attack": "derangement", "views": "main"}, "shown in the view attack"),
        ({"attackers": "nobody"}, "attackers of points: unknown client 'nobody'"),
        ({"seeds": [7]}, r"points\[0\].seeds must name at least one of seeds"),
        ({"attacker_weight": 0.5}, "attacker_weight is a weight of merge: weighted_mean"),
        ({"merge": "regmean"}, "needs measured clients"),
        ({"attack": {"kind": "single", "target_class": "eleven"}}, "target_class: unknown class 'eleven'"),
    ],
)
def test_an_attack_that_cannot_be_is_refused_in_one_sentence(config, block, sentence):
    with pytest.raises(SapError, match=sentence):
        study_of(config, DERANGEMENT | block).fold_points(NOBODY)
