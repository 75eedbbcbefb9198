"""Clients that train by a recipe: who trains, what a plan lists, what an id is made of, what is refused."""

import re

import pytest

from sap.errors import SapError
from sap.pipeline import build_study
from sap.plan.folds import shard_plan
from sap.plan.notes import notes
from sap.plan.reporting import report_plan

RECIPES = {"swa": {"average": "swa"}, "small": {"lora": {"rank": 2}}}
BOTH = {"recipe": ["plain", "swa"], "merge": "mean"}


def study_of(config, *blocks, recipes=RECIPES, **sections):
    return build_study({**config, **sections, "recipes": recipes, "points": list(blocks)})


def test_the_clients_of_a_recipe_train_as_it_says_and_nobody_else_does(config):
    study = study_of(config, BOTH)
    plain = study_of(config, {"merge": "mean"})
    assert set(plain.trainees) == {trainee for trainee in study.trainees if trainee.kind != "recipe"}
    others = [trainee for trainee in study.trainees if trainee.kind == "recipe"]
    assert [trainee.name for trainee in others] == study.domains
    for trainee in others:
        trained = trainee.identity.fields["train"]
        assert trained == plain.client(trainee.name).identity.fields["train"] | {
            "average": "swa",
            "average_start": 0.75,
        }
        assert study.stages["train_client"].plan(study, trainee, trainee.name, 0).train == trained


def test_a_recipe_is_on_top_of_the_whole_section(config):
    study = study_of(config, {"recipe": "small", "merge": "mean"}, train={"epochs": 3, "lora": {"alpha": 8.0}})
    trained = study.trained_by("small", "photo").identity.fields["train"]
    assert (trained["epochs"], trained["lora"]["rank"], trained["lora"]["alpha"]) == (3, 2, 8.0)
    assert study.trained_by("small", "photo").train_id.startswith("digits-r2-")


def test_recipes_that_no_point_asks_for_train_nobody_and_change_no_id(config):
    asked, plain = study_of(config, {"merge": "mean"}), build_study(config | {"points": [{"merge": "mean"}]})
    assert asked.trainees == plain.trainees
    assert [point.id for point in asked.points] == [point.id for point in plain.points]


def test_a_recipe_that_says_nothing_is_the_plain_training(config):
    study = study_of(config, {"recipe": "same", "merge": "mean"}, recipes={"same": {}})
    assert {trainee.kind for trainee in study.trainees} == {"client", "pooled"}
    assert shard_plan(study, "photo", 0, 0).recipes["same"] == shard_plan(study, "photo", 0, 0).clients


def test_a_point_is_named_by_its_recipe_and_its_id_by_what_that_says(config):
    study = study_of(config, {"recipe": ["plain", "swa"], "merge": "mean", "scale": 0.5})
    plain, swa = study.points
    assert (plain.label, swa.label) == ("mean, λ=0.5", "mean, recipe swa, λ=0.5")
    assert "recipe" not in plain.settings
    other = study_of(config, {"recipe": "swa", "merge": "mean", "scale": 0.5}, recipes={"swa": {"average": "beta"}})
    assert other.points[0].settings["recipe"] == "swa"
    assert other.points[0].id != swa.id


def test_a_plan_lists_the_uploads_of_a_recipe_and_waits_for_them(config):
    study = study_of(config, BOTH)
    plan = shard_plan(study, "photo", 0, 0)
    assert list(plan.recipes) == ["swa"]
    assert list(plan.recipes["swa"]) == list(plan.clients)
    for name, folder in plan.recipes["swa"].items():
        assert folder == study.trained_by("swa", name).folder(0) != plan.clients[name]
        assert f"{folder}/meta.json" in plan.inputs()
    assert plan.trained_by({"recipe": "swa"}).clients == plan.recipes["swa"]
    assert plan.trained_by({}) is plan
    assert shard_plan(study_of(config, {"merge": "mean"}), "photo", 0, 0).recipes == {}


def test_a_recipe_trains_at_the_seeds_of_its_points(config):
    study = study_of(config, {"recipe": "swa", "merge": "mean", "seeds": [1]}, seeds=[0, 1])
    trained = [trainee for trainee in study.trainees if trainee.kind == "recipe"]
    assert {tuple(study.seeds_of(trainee)) for trainee in trained} == {(1,)}


def test_the_report_calls_a_training_by_client_and_recipe(config):
    found = report_plan(study_of(config, BOTH, seeds=[0])).trainees
    assert {"photo, recipe swa", "sketch, recipe swa"} <= {
        trained.name for trained in found if trained.kind == "recipe"
    }


def test_an_update_that_is_pruned_on_demand_is_the_recipes(config):
    study = study_of(config, {"recipe": "swa", "criterion": "magnitude", "merge": "mean"})
    plan = study.stages["prune"].plan(study, point=study.points[0].id, trainee="photo", seed=0)
    assert plan.adapter == study.trained_by("swa", "photo").folder(0)


def test_soft_labels_of_a_recipe_are_noted(config):
    (line,) = notes(study_of(config, BOTH, recipes=RECIPES | {"soft": {"label_smoothing": 0.2}}))
    assert line.startswith("recipes.soft.label_smoothing above 0: clients")


@pytest.mark.parametrize(
    ("recipes", "block", "sentence"),
    [
        ({"a": {"epoch": 3}}, {"merge": "mean"}, "recipes.a: unknown key 'epoch'. Did you mean 'epochs'"),
        ({"a": {"lora": {"rank": 0}}}, {"merge": "mean"}, "recipes.a.lora.rank must be at least 1, got 0"),
        (
            {"a": {"lora": {"rank": 65}}},
            {"merge": "mean"},
            "recipes.a.lora.rank must be at most the tower's width 64, got 65",
        ),
        ({"a": {"average": "mean"}}, {"merge": "mean"}, "recipes.a.average: unknown value 'mean'"),
        ({"a": 3}, {"merge": "mean"}, "recipes.a must be a mapping, got 3"),
        ({"plain": {}}, {"merge": "mean"}, "recipes: 'plain' cannot be a recipe's name"),
        ({"a/b": {}}, {"merge": "mean"}, "recipes: 'a/b' cannot be a recipe's name"),
        (
            {"a": {"early_stop": 2, "average": "swa"}},
            {"merge": "mean"},
            "recipes.a.early_stop keeps one epoch, and recipes.a.average",
        ),
        ({"swb": {}}, BOTH, "points[0].recipe: unknown recipe 'swa'. Did you mean 'swb'"),
        (RECIPES, BOTH | {"stages": ["probe"]}, "points[0].recipe: attacks and other stages see plain clients"),
        (RECIPES, BOTH | {"views": "attack", "attack": "sign_flip"}, "points[0].recipe: attacks and other stages"),
        (
            RECIPES,
            BOTH | {"criterion": "taylor_absolute"},
            "points[0].recipe: gradient of clients is computed for plain clients alone",
        ),
        (RECIPES, BOTH | {"merge": "regmean"}, "points[0].recipe: gram of clients is computed for plain clients alone"),
        (RECIPES, {"recipe": "swa", "serve": "ensemble"}, "points[0]"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_one_sentence(config, recipes, block, sentence):
    with pytest.raises(SapError, match=re.escape(sentence)):
        study_of(config, block, recipes=recipes)
