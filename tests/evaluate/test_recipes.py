"""A point of a recipe merges what its clients uploaded, in every fold, and in what is merged on demand."""

import pytest
import torch

from sap.evaluate.composer import by_recipe
from sap.evaluate.load import _fold
from sap.factors import Factors
from sap.provenance import save_meta
from sap.update import Update
from tests.made_plans import made_fold

LAYER = "visual.transformer.resblocks.0.mlp.c_fc.weight"
SIZES = {"art": 1.0, "photo": 3.0, "swa/art": 10.0, "swa/photo": 50.0}
COUNTS = {"art": 10, "photo": 30, "swa/art": 10, "swa/photo": 30}


@pytest.fixture
def plan(tmp_path):
    folders = {name: str(tmp_path / name) for name in SIZES}
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
        save_meta(tmp_path / name, {"stage": "train_client", "sample_count": COUNTS[name]})
    return made_fold(
        target="sketch",
        clients={name: folders[name] for name in ("art", "photo")},
        domain_of={"art": "art", "photo": "photo"},
        recipes={"swa": {name: folders[f"swa/{name}"] for name in ("art", "photo")}},
    )


def update_of(size: float) -> Update:
    return Update({LAYER: Factors(torch.ones(1, 32), size * torch.ones(128, 1))})


def mean_of(update: Update) -> float:
    return float(update.dense(LAYER).mean())


def settings(method: str = "mean", **more) -> dict:
    return {"kind": "merge", "criterion": "none", "merge": {"method": method}, "rank": None, "scale": 1.0, **more}


def test_a_point_merges_the_clients_of_its_recipe(plan, tiny_clip):
    fold = _fold(plan, {name: update_of(size) for name, size in SIZES.items()}, tiny_clip, ())
    assert mean_of(fold.merge(settings())) == pytest.approx(2.0)
    assert mean_of(fold.merge(settings(recipe="swa"))) == pytest.approx(30.0)
    assert mean_of(fold.merge(settings("weighted_mean", recipe="swa"))) == pytest.approx(40.0)
    assert mean_of(fold.merge(settings(recipe="swa", scale=0.5))) == pytest.approx(15.0)
    less = fold.without("photo")
    assert mean_of(less.merge(settings(recipe="swa"))) == pytest.approx(10.0)
    assert mean_of(less.merge(settings())) == pytest.approx(1.0)


def test_on_demand_it_merges_them_too(plan, monkeypatch):
    read = {folder: update_of(SIZES[name]) for name in SIZES for folder in [_folder(plan, name)]}
    monkeypatch.setattr("sap.evaluate.composer.load_adapter", read.__getitem__)
    composer = by_recipe(plan)
    assert mean_of(composer(settings(recipe="swa")).merge(settings(recipe="swa"))) == pytest.approx(30.0)
    assert mean_of(composer(settings()).merge(settings())) == pytest.approx(2.0)
    assert composer(settings(recipe="swa", scale=2.0)) is composer(settings(recipe="swa"))


def _folder(plan, name: str) -> str:
    recipe, _, client = name.rpartition("/")
    return plan.recipes[recipe][client] if recipe else plan.clients[client]
